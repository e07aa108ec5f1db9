"""Write the pages of the site as Markdown: every notebook with its stored pictures, and an API reference. `make docs` builds them.

The notebooks go through nbconvert; the reference is nbdev's `show_doc`, since docments (a comment on each argument) are read by no other
tool. zensical makes HTML and the search of it.
"""
import ast
import importlib
import inspect
import re
import shutil
import sys
import warnings
from pathlib import Path

import nbformat
from nbconvert import MarkdownExporter

ROOT = Path(__file__).resolve().parent.parent
SECTIONS = {  # number of the first notebook of a section: its name
    '00': 'Foundations', '02a': 'Rendered faces', '03': 'Data', '04': 'Weights, figures, crops', '10': 'Networks',
    '20': 'Losses, metrics, training', '40': 'At work', '50': 'Proofs'}
COPIES = {'README.md': 'index.md', 'CONTRIBUTING.md': 'contributing.md', 'CHANGELOG.md': 'changelog.md',
          'data/README.md': 'card-faces.md', 'data/weights/synth64/README.md': 'card-synth64.md'}


# ---------------------------------------------------------------- notebooks

def directives(cell):
    "The nbdev directives of a code cell."
    return set(re.findall(r'^#\|\s*(\w+)', cell.source, re.M))


def cells_to_show(book):
    "The cells of a notebook that a reader is shown, without their directives."
    for cell in book.cells:
        if cell.cell_type != 'code':
            yield cell
            continue
        found = directives(cell)
        cell.source = re.sub(r'^#\|.*\n?', '', cell.source, flags=re.M).strip('\n')
        hidden = found & {'hide', 'default_exp'} or 'nbdev_export()' in cell.source or only_imports(cell.source)
        if hidden and cell.outputs: cell.source = ''
        if not hidden or cell.outputs: yield cell


def only_imports(source):
    "Whether a cell has nothing but imports, or nothing at all."
    try: return all(isinstance(node, (ast.Import, ast.ImportFrom)) for node in ast.parse(source).body)
    except SyntaxError: return False  # a line for the shell


def convert(path, out):
    "A notebook as a Markdown page, its pictures beside it; returns its title."
    book = nbformat.read(path, 4)
    book.cells = list(cells_to_show(book))
    book.metadata.language_info = dict(name='python')
    folded = [cell.source for cell in book.cells if cell.metadata.get('jupyter', {}).get('source_hidden')]
    text, extra = MarkdownExporter().from_notebook_node(book, dict(output_files_dir=f'{path.stem}_files', unique_key=path.stem))
    for source in folded: text = fold(text, source)
    for name, data in extra['outputs'].items():
        (out/name).parent.mkdir(parents=True, exist_ok=True)
        (out/name).write_bytes(data)
    text = re.sub(r'```python\s*```', '', text)
    (out/f'{path.stem}.md').write_text(mend_links(text), encoding='utf-8')
    return re.search(r'^# (.+)', text, re.M)[1]


def fold(text, source):
    "A cell that is folded in JupyterLab is folded on the page."
    block = f'```python\n{source}\n```'
    inside = '\n'.join(f'    {line}'.rstrip() for line in block.split('\n'))
    return text.replace(block, f'??? note "code"\n\n{inside}\n', 1)


def mend_links(text):
    "Links between notebooks, and to the files that are pages here."
    text = re.sub(r'\]\((?:\.\./)*(?:nbs/)?([\w.-]+)\.ipynb(#[^)]*)?\)', r'](\1.md\2)', text)
    for source, page in COPIES.items(): text = re.sub(rf'\]\((?:\.\./)*{re.escape(source)}\)', f']({page})', text)
    return re.sub(r'\]\((?:\.\./)*outputs/figures/', '](figures/', text)


# ---------------------------------------------------------------- reference

def reference(module, out):
    "A page of what a module exports: signature, docstring and the comment on each argument."
    names = [n for n in getattr(module, '__all__', ()) if '.' not in n]
    own = [n for n in names if getattr(getattr(module, n), '__module__', None) == module.__name__]
    parts = [f'# {module.__name__}', (module.__doc__ or '').strip()]
    for name in own: parts += document(name, getattr(module, name), '##')
    (out/f'{module.__name__}.md').write_text('\n\n'.join(parts) + '\n', encoding='utf-8')
    return len(own)


def document(name, thing, level):
    "Markdown of a function or class, and of a class's public methods."
    from nbdev.showdoc import DocmentTbl
    parts = [f'{level} {name}', f'```python\n{signature(name, thing)}\n```', inspect.getdoc(thing) or '']
    if not (inspect.isfunction(thing) or inspect.isclass(thing)): return parts
    try: table = DocmentTbl(thing)
    except NameError: table = None  # a constructor of a library, with annotations that only the library can read
    if table is not None and table.has_docment: parts.append(str(table._repr_markdown_()))
    for method, function in vars(thing).items() if inspect.isclass(thing) else ():
        function = getattr(function, '__func__', function)
        if inspect.isfunction(function) and not method.startswith('_') and function.__doc__:
            parts += document(f'{name}.{method}', function, level + '#')
    return parts


def signature(name, thing):
    "How a thing is called; a class as its constructor is."
    kind = 'class ' if inspect.isclass(thing) else 'def ' if inspect.isfunction(thing) else ''
    try: parameters = inspect.signature(thing).parameters.values()
    except (TypeError, ValueError): return f'{kind}{name}'
    arguments = [str(p.replace(annotation=p.empty)) for p in parameters]
    line = f'{kind}{name}({", ".join(arguments)})'
    return line if len(line) < 100 else f'{kind}{name}(\n    ' + ',\n    '.join(arguments) + ')'


# ---------------------------------------------------------------- the site

def section(stem):
    "The section a notebook stands in."
    number = stem.split('_')[0]
    return [name for first, name in SECTIONS.items() if first <= number][-1]


def config(nav):
    "zensical.toml of the site: the settings beside this file, and what is to be found where."
    groups = {}
    for group, title, page in nav: groups.setdefault(group, []).append(f'    {{ {quoted(title)} = {quoted(page)} }},')
    lines = []
    for group, pages in groups.items(): lines += [f'  {{ {quoted(group)} = [', *pages, '  ] },'] if group else pages
    settings = (ROOT/'docs'/'zensical.toml').read_text(encoding='utf-8')
    return settings.replace('nav = []', 'nav = [\n' + '\n'.join(lines) + '\n]')


def quoted(text):
    "A TOML string."
    return '"' + text.replace('\\', '\\\\').replace('"', '\\"') + '"'


def check(out):
    "Stop at a link to a page that is not there, and at a notebook that README does not name."
    pages = {path.name: path.read_text(encoding='utf-8') for path in out.glob('*.md')}
    linked = {name: set(re.findall(r'\]\(([\w.-]+\.md)', text)) for name, text in pages.items()}
    wrong = [f'{name}: links to {page}, which is not there' for name, links in linked.items() for page in sorted(links - set(pages))]
    wrong += [f'README.md: does not name {path.stem}' for path in sorted((ROOT/'nbs').glob('[0-9]*.ipynb')) if f'{path.stem}.md' not in linked['index.md']]
    if wrong: sys.exit('\n'.join(wrong))


def main(folder):
    "Write the site's source into `folder`."
    folder = Path(folder)
    out = folder/'pages'
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    shutil.copytree(ROOT/'outputs'/'figures', out/'figures')
    for name in ('extra.css', 'iframe-worker.js'): shutil.copy(ROOT/'docs'/name, out/name)
    for source, page in COPIES.items():
        if (ROOT/source).exists(): (out/page).write_text(mend_links((ROOT/source).read_text(encoding='utf-8')), encoding='utf-8')
    for picture in (ROOT/'data'/'weights'/'synth64').glob('*.[jp][pn]g'): shutil.copy(picture, out/picture.name)
    nav = [('', 'ifer', 'index.md')]
    for path in sorted((ROOT/'nbs').glob('[0-9]*.ipynb')):
        title = convert(path, out)
        nav.append((section(path.stem), f"{path.stem.split('_')[0]} · {title}", f'{path.stem}.md'))
    nav.append(('Project', 'A page to start from', '_template.md'))
    convert(ROOT/'nbs'/'_template.ipynb', out)
    sys.path.insert(0, str(ROOT))
    for path in sorted((ROOT/'ifer').glob('[a-z]*.py')):
        module = importlib.import_module(f'ifer.{path.stem}')
        if reference(module, out): nav.append(('Reference', module.__name__, f'{module.__name__}.md'))
    nav += [('Project', 'Contributing', 'contributing.md'), ('Project', 'Changes', 'changelog.md'),
            ('Project', 'Card of the faces', 'card-faces.md'), ('Project', 'Card of the weights', 'card-synth64.md')]
    nav = [row for row in nav if (out/row[2]).exists()]
    (folder/'zensical.toml').write_text(config(nav), encoding='utf-8')
    check(out)
    print(f'{len(nav)} pages in {folder}')


if __name__ == '__main__':
    warnings.simplefilter('ignore')
    main(sys.argv[1])
