"""The metric of the shipped ASIT's codes, measured on training faces: python fit_metric.py FILE"""
import argparse

import torch

from ifer import ASIT, load_faces
from ifer.code_metric import CodeMetric

FACES = 640

if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('file')
    faces, asit = load_faces('train'), ASIT.from_pretrained('synth64')
    found = asit.invert(faces.images(torch.linspace(0, len(faces) - 1, FACES).long().numpy()), precision='fp32')
    metric = CodeMetric.measure(asit.decoder, found.codes, found.structure)
    print(metric, metric.save(parser.parse_args().file), sep='\n')
