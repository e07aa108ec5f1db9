"""Run notebooks in place and keep the outputs that a reader needs: `make store NB='12 13'`.

A cell keeps what it shows (pictures, HTML, tables) and what it prints. Standard error, progress bars and the outputs of cells that only
test are dropped. A cell flagged `slow`, `synth`, `cuda` or `browser` is not run unless its flag is asked for; what it showed before stays.
"""
import argparse
import os
import re
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parent.parent
FLAGS = ('slow', 'synth', 'cuda', 'browser')
TESTS = re.compile(r'^(test_|assert |with ExceptionExpected|raises\()', re.M)
SHOWN = ('image/png', 'image/jpeg', 'image/svg+xml', 'text/html', 'text/latex', 'text/markdown')
WIDGET = 'application/vnd.jupyter.widget-view+json'
PLACES = re.compile(rf'{re.escape(str(ROOT))}/|{re.escape(tempfile.gettempdir())}/tmp\w+')  # folders of this machine alone


def directives(cell):
    "The nbdev directives of a cell: {'export', 'slow'}."
    return set(re.findall(r'^#\|\s*(\w+)', cell.source, re.M))


def runs(cell, flags):
    "Whether the cell is run: one that runs nothing now, or has a flag that was not asked for, is not."
    found = directives(cell)
    if 'eval' in found and re.search(r'^#\|\s*eval:\s*false', cell.source, re.M): return False
    return not found & (set(FLAGS) - set(flags))


def placeless(text):
    "Text without the folders of this machine."
    return PLACES.sub(lambda m: '' if m[0].endswith('/') else '…', text)


def tidy(outputs):
    "Outputs as a reader wants them: no standard error, no bars, no folders of one machine; a photograph as JPEG, a drawing as PNG."
    kept = [o for o in outputs if not (o.output_type == 'stream' and o.name == 'stderr')]
    kept = [o for o in kept if WIDGET not in o.get('data', {})]
    for output in kept:
        output.get('metadata', {}).clear()
        data = output.get('data', {})
        if {'image/jpeg', 'image/png'} <= set(data): del data['image/png' if len(data['image/png']) > 100_000 else 'image/jpeg']
        if 'text/markdown' in data: data.pop('text/plain', None)  # the same once more, and with the folders of one machine
        if 'execution_count' in output: output.execution_count = None
        if 'text' in output: output.text = placeless(output.text.rsplit('\r', 1)[-1])
        data.update({kind: placeless(text) for kind, text in data.items() if kind.startswith('text/')})
    return [o for o in kept if o.get('text', 'x').strip()]


def wanted(cell):
    "Whether a reader needs what the cell put out: always a picture or a table; text only where nothing is tested."
    shows = any(set(o.get('data', {})) & set(SHOWN) for o in cell.outputs)
    return shows or not TESTS.search(cell.source)


def store(path, flags=(), parameters=(), timeout=3600):
    "Run a notebook in its own folder, and write it back with the outputs that are kept."
    book = nbformat.read(path, 4)
    last = re.compile(r'nbdev_export\(\)')
    chosen = [c for c in book.cells if c.cell_type == 'code' and runs(c, flags) and not last.search(c.source)]
    asleep = {c.id: (c.source, c.outputs) for c in book.cells if c.cell_type == 'code' and c not in chosen}
    for cell in book.cells:
        if cell.id in asleep: cell.source = ''
    for cell in book.cells:
        if 'parameters' in cell.metadata.get('tags', ()) and parameters:
            asleep[cell.id] = cell.source, []
            cell.source = '\n'.join([cell.source, *parameters])
    client = NotebookClient(book, timeout=timeout, kernel_name='python3', resources=dict(metadata=dict(path=str(path.parent))),
                            extra_arguments=['--InlineBackend.figure_formats={"png", "jpeg"}'])
    client.execute()
    for cell in book.cells:
        if cell.cell_type != 'code': continue
        cell.execution_count = None
        cell.metadata.pop('execution', None)
        if cell.id in asleep: cell.source, cell.outputs = asleep[cell.id]
        else: cell.outputs = tidy(cell.outputs)
        if cell.id not in asleep and not wanted(cell): cell.outputs = []
    book.metadata.pop('widgets', None)
    book.metadata.pop('language_info', None)
    nbformat.write(book, path)
    return path.stat().st_size


def main():
    "The command line."
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('notebooks', nargs='+', help='numbers or names of notebooks in nbs/: 12, 03b, 45_demo')
    parser.add_argument('--flags', default='', help=f'also run cells flagged so, of: {" ".join(FLAGS)}')
    parser.add_argument('--with', dest='parameters', nargs='*', default=[], help='parameters of this run: train_steps=120')
    options = parser.parse_args()
    os.environ['PYTHONPATH'] = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get('PYTHONPATH')])])
    os.environ.setdefault('MPLBACKEND', 'module://matplotlib_inline.backend_inline')
    for name in options.notebooks:
        found = sorted((ROOT/'nbs').glob(f'{Path(name).stem}*.ipynb'))
        if not found: sys.exit(f"nbs/{name}*.ipynb: no such notebook")
        for path in found:
            size = store(path, options.flags.split(), options.parameters)
            print(f'{path.name}: {size/1e3:.0f} kB', flush=True)


if __name__ == '__main__': main()
