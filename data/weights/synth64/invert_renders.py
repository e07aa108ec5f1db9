"""Renders with each image replaced by its inversion, all else as it was: python invert_renders.py RENDERS.parquet OUT.parquet [ASIT]"""
import io
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image

from ifer import ASIT
from ifer.data import load_parquet
from ifer.images import to_uint8


def encoded(
    image,  # (3,64,64) in [-1,1]
) -> bytes:
    "An image as WebP."
    file = io.BytesIO()
    Image.fromarray(to_uint8(image).permute(1, 2, 0).numpy()).save(file, 'WEBP', quality=93)
    return file.getvalue()


def invert_renders(
    renders,  # .parquet of `ifer.synth`
    out,      # .parquet to write
    weights,  # of the ASIT
):
    "Write the inversions."
    table, faces, asit = pq.read_table(renders), load_parquet(renders), ASIT.from_pretrained(weights).eval()
    images = []
    for start in range(0, len(faces), 32):
        rows = list(range(start, min(start + 32, len(faces))))
        images += map(encoded, asit.invert(faces.images(rows), batch_size=32).image.float().clamp(-1, 1))
    field = table.schema.field('image')
    pq.write_table(table.set_column(table.schema.get_field_index('image'), field, pa.array(images, field.type)), out, row_group_size=1024)


if __name__ == '__main__': invert_renders(*(sys.argv[1:] + ['synth64'][len(sys.argv) - 3:]))
