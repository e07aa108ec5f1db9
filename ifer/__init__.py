"""StyleGAN2 face inversion (ASIT) and facial expression recognition from the inversion (IFER)."""
import os
import signal
import sys

__version__ = "0.1.0"

_HOME = {  # public name -> the module it lives in: imported on first use, so that `import ifer` costs nothing
    'IferError': 'core', 'ASITConfig': 'config', 'EncoderConfig': 'config', 'GeneratorConfig': 'config',
    'DiscriminatorConfig': 'config', 'IFERConfig': 'config', 'CLASSES': 'config',
    'load_faces': 'data', 'load_dataset': 'data', 'load_image': 'data', 'to_images': 'data', 'to_pil': 'data',
    'Generator': 'stylegan2', 'Discriminator': 'stylegan2', 'Encoder': 'encoder',
    'ASIT': 'asit', 'Inversion': 'asit', 'Network': 'network', 'InversionDiscriminator': 'discriminator',
    'IFER': 'expression', 'Prediction': 'expression', 'FaceFeatures': 'features', 'FaceEmbedder': 'identity', 'load': 'checkpoints',
}

_MORE = dict(ASIT='export', IFER='export')  # public name -> a module that gives it further methods

__all__ = [*_HOME, '__version__']


def __getattr__(name):
    from importlib import import_module
    if name not in _HOME: raise AttributeError(f"module 'ifer' has no attribute '{name}'")
    value = getattr(import_module(f'ifer.{_HOME[name]}'), name)
    if name in _MORE: import_module(f'ifer.{_MORE[name]}')
    globals()[name] = value
    return value


def __dir__(): return sorted(__all__)


def interrupted(*_):
    "Ctrl-C while `python -m ifer.…` starts or ends: one line and status 130, as `ifer.config.command` has it in between."
    if os.getpid() == _process: os.write(2, b'interrupted\n')
    os._exit(130)


_process = os.getpid()
if sys.argv[:1] == ['-m']: signal.signal(signal.SIGINT, interrupted)  # so is argv while Python looks for the module after -m
