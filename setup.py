"""Build recipe: everything it needs to know stands in settings.ini."""
from configparser import ConfigParser
from pathlib import Path

from setuptools import setup

root = Path(__file__).parent
config = ConfigParser(delimiters=['='])
config.read(root / 'settings.ini', encoding='utf-8')
cfg = config['DEFAULT']

setup(
    name=cfg['lib_name'],
    version=cfg['version'],
    description=cfg['description'],
    long_description=(root / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    author=cfg['author'],
    author_email=cfg['author_email'],
    keywords=cfg['keywords'],
    url=cfg['git_url'],
    python_requires=f">={cfg['min_python']}",
    # data/ and configs/ travel inside the package, as ifer.assets and ifer.configs: a wheel finds them as a clone does
    packages=['ifer', 'ifer.assets', 'ifer.configs'],
    package_dir={'ifer': 'ifer', 'ifer.assets': 'data', 'ifer.configs': 'configs'},
    package_data={'ifer.assets': ['*.parquet', '*.md', 'weights/*/*', 'goldens/*', 'peers/*', 'benchmarks/*'], 'ifer.configs': ['*.yml']},
    install_requires=cfg['requirements'].split(),
    extras_require={
        'notebooks': cfg['notebook_requirements'].split(),
        'onnx': cfg['onnx_requirements'].split(),
        'dev': ' '.join(cfg[f'{name}_requirements'] for name in ('notebook', 'dev', 'onnx', 'video')).split(),
        'app': cfg['app_requirements'].split(),
        'synth': cfg['synth_requirements'].split(),
        'video': cfg['video_requirements'].split(),
        'wandb': cfg['wandb_requirements'].split(),
        'docs': cfg['docs_requirements'].split(),
    },
    entry_points={'nbdev': [f"{cfg['lib_name']}={cfg['lib_name']}._modidx:d"], 'console_scripts': ['ifer = ifer.command:main']},
    zip_safe=False,
)
