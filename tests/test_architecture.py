"""The rules of the README's "Architecture", read off the source with ast."""

import ast
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
STAGES = sorted((ROOT / "stages").rglob("*.py"))
CLI = sorted((ROOT / "videoscene_cli").rglob("*.py"))
EVERYTHING = [*STAGES, *CLI, *sorted((ROOT / "tests").rglob("*.py")), ROOT / "setup.py"]

# Who may import whom: a part may import the parts before it, and itself. Parts of one line do not know each other.
LAYERS = [
    {"errors"},
    {"scene"},
    {"geometry", "plain_border"},
    {"overlap", "sizes"},
    {"exposure"},
    {"trajectory", "splat", "files"},
    {"worlds", "metrics", "training", "walk"},
    {"prior"},
    {"render"},
    {"video"},
    {"reconstruct"},
    {"pipeline"},
    {"distill"},
    {"evaluate"},
]
# The same for the parts of the command line.
CLI_LAYERS = [
    {"__init__"},
    {"terminal"},
    {"models"},
    {"results"},
    {"reconstruction", "evaluation", "training"},
    {"commands"},
    {"app"},
]
MOST_ARROWS = 25  # from part to part
SLOW_OR_LOUD = {"gsplat", "diffusers", "pycolmap", "imageio_ffmpeg", "kornia", "pi_heif"}
LONGEST = 350


def part(path: Path) -> str:
    """`prior` for stages/prior/network.py, `scene` for stages/scene.py, `app` for videoscene_cli/app.py."""
    return path.relative_to(ROOT).parts[1].removesuffix(".py")


def imports(tree: ast.AST) -> Iterator[str]:
    """Every module that a tree imports, `from stages import x` as stages.x."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            module = node.module or ""
            yield from (
                (f"{module}.{alias.name}" for alias in node.names)
                if module in ("stages", "videoscene_cli")
                else [module]
            )


def imports_at_once(node: ast.AST) -> Iterator[str]:
    """The modules that importing a module imports: not those of its functions, nor those for type checkers only."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.Import, ast.ImportFrom)):
            yield from imports(child)
        elif not isinstance(child, ast.FunctionDef) and not (
            isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"
        ):
            yield from imports_at_once(child)


def offenders(paths: list[Path], faults: Callable[[Path, ast.Module], Iterable[str]]) -> list[str]:
    """`file: fault` for every fault of every file, so that one failure shows the whole work."""
    return [
        f"{path.relative_to(ROOT)}: {fault}" for path in paths for fault in faults(path, ast.parse(path.read_text()))
    ]


def packages(modules: Iterable[str]) -> set[str]:
    """`torch` for torch.nn."""
    return {module.split(".")[0] for module in modules}


def test_stages_know_nothing_of_the_command_line() -> None:
    surroundings = {"sys.argv", "sys.stdout", "os.environ", "os.getenv", "os.getcwd", "Path.cwd"}

    def faults(path: Path, tree: ast.Module) -> Iterator[str]:
        yield from packages(imports(tree)) & {"videoscene_cli", "typer", "click", "rich", "argparse", "tests"}
        yield from {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)} & surroundings
        yield from (node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id == "print")

    assert offenders(STAGES, faults) == []


def test_an_assert_only_tells_the_type_checker_something_since_python_o_leaves_it_out() -> None:
    def faults(path: Path, tree: ast.Module) -> Iterator[str]:
        for node in ast.walk(tree):
            text = ast.unparse(node.test) if isinstance(node, ast.Assert) else "x is not None"
            if not text.endswith(" is not None") and not text.startswith("isinstance("):
                yield text

    assert offenders([*STAGES, *CLI], faults) == []


def test_a_stage_imports_only_what_comes_before_it() -> None:
    def faults(path: Path, tree: ast.Module) -> set[str]:
        own = part(path)
        level = next(index for index, parts in enumerate(LAYERS) if own in parts)
        used = {module.split(".")[1] for module in imports(tree) if module.startswith("stages.")}
        return used - set().union(*LAYERS[:level], {own})

    assert offenders([path for path in STAGES if part(path) != "__init__"], faults) == []


def arrows() -> set[tuple[str, str]]:
    """(part, part that it imports) of the command line. The package itself holds only its version."""
    used = {(part(path), module) for path in CLI for module in imports(ast.parse(path.read_text()))}
    pairs = {(own, module.split(".")[1]) for own, module in used if module.startswith("videoscene_cli.")}
    return {(own, other) for own, other in pairs if own != other and not other.startswith("__")}


def test_a_part_of_the_command_line_imports_only_parts_before_it() -> None:
    level = {name: index for index, names in enumerate(CLI_LAYERS) for name in names}
    assert not {(own, other) for own, other in arrows() if level[other] >= level[own]}


def test_few_arrows_join_the_parts_of_the_command_line() -> None:
    assert len(arrows()) <= MOST_ARROWS


def test_slow_or_loud_packages_are_imported_where_they_are_used() -> None:
    assert offenders([*STAGES, *CLI], lambda path, tree: packages(imports_at_once(tree)) & SLOW_OR_LOUD) == []


def test_the_command_line_imports_no_torch_until_it_works() -> None:
    slow = {"torch", "numpy", "PIL", "yaml", "huggingface_hub"}
    assert offenders(CLI, lambda path, tree: packages(imports_at_once(tree)) & slow) == []


def test_what_others_use_has_a_docstring() -> None:
    def faults(path: Path, tree: ast.Module) -> Iterator[str]:
        public = [
            node
            for node in tree.body
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_")
        ]
        yield from (node.name for node in public if ast.get_docstring(node) is None)
        if tree.body and ast.get_docstring(tree) is None:
            yield "the file itself"

    assert offenders([*STAGES, *CLI], faults) == []


def test_files_are_short() -> None:
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in EVERYTHING}
    assert {path: length for path, length in lengths.items() if length > LONGEST} == {}


def test_commands_are_thin() -> None:
    assert all(
        len(path.read_text().splitlines()) <= 140 for path in (ROOT / "videoscene_cli" / "commands").glob("*.py")
    )


def test_no_untrusted_file_can_run_code() -> None:
    forbidden = {"eval", "exec", "pickle.load", "pickle.loads", "yaml.load", "yaml.unsafe_load"}

    def faults(path: Path, tree: ast.Module) -> Iterator[str]:
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            function = ast.unparse(call.func)
            safe = any(
                keyword.arg == "weights_only" and ast.unparse(keyword.value) == "True" for keyword in call.keywords
            )
            if function in forbidden or (function == "torch.load" and not safe):
                yield f"{function} in line {call.lineno}"

    assert offenders([*STAGES, *CLI], faults) == []
