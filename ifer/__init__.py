"""StyleGAN2 face inversion (ASIT) and facial expression recognition from the inversion (IFER)."""
__version__ = "0.1.0"

_HOME = {  # public name -> the module it lives in: imported on first use, so that `import ifer` costs nothing
    'IferError': 'core', 'ASITConfig': 'config', 'EncoderConfig': 'config', 'GeneratorConfig': 'config',
    'DiscriminatorConfig': 'config', 'IFERConfig': 'config', 'CLASSES': 'config',
    'load_faces': 'data', 'load_dataset': 'data', 'load_image': 'data', 'to_images': 'data', 'to_pil': 'data',
    'Generator': 'stylegan2', 'Discriminator': 'stylegan2', 'Encoder': 'encoder',
    'ASIT': 'asit', 'Inversion': 'asit', 'InversionDiscriminator': 'discriminator',
    'IFER': 'expression', 'Prediction': 'expression', 'FaceFeatures': 'losses', 'FaceEmbedder': 'identity', 'load': 'checkpoints',
}
_MODELS = {'Generator', 'ASIT', 'IFER', 'FaceFeatures', 'FaceEmbedder'}  # 16_checkpoints gives these `from_pretrained`

__all__ = [*_HOME, '__version__']


def __getattr__(name):
    from importlib import import_module
    if name not in _HOME: raise AttributeError(f"module 'ifer' has no attribute '{name}'")
    if name in _MODELS: import_module('ifer.checkpoints')
    value = getattr(import_module(f'ifer.{_HOME[name]}'), name)
    globals()[name] = value
    return value


def __dir__(): return sorted(__all__)
