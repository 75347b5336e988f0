"""Data sets from anywhere: names that lead out of a folder, and code in files (docs/guarantees.md)."""

import ast
import json
from pathlib import Path

import pytest
from layouts import named_coco

import data
from loaders.coco import COCO

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    "name", ["../secret.png", "/etc/secret.png", "a/../../secret.png", "a\\..\\secret.png", "a\0b.png"]
)
def test_an_annotation_file_cannot_name_an_image_outside_its_folder(tmp_path, name):
    """COCO's file_name."""
    named_coco(tmp_path / "coco", [])
    file = tmp_path / "coco" / "annotations" / "instances_val2017.json"
    content = json.loads(file.read_text())
    content["images"] = [{"id": 0, "file_name": name, "width": 64, "height": 64}]
    file.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"leads out of .*val2017; expected the name of a file inside$") as error:
        COCO(tmp_path / "coco")
    assert f"instances_val2017.json: images[0]: file_name {name!r}" in str(error.value)


def test_a_list_of_names_cannot_lead_out_of_its_folder(tmp_path):
    """PASCAL VOC's ImageSets."""
    (tmp_path / "ImageSets" / "Segmentation").mkdir(parents=True)
    (tmp_path / "ImageSets" / "Segmentation" / "val.txt").write_text("../../secret\n")
    with pytest.raises(ValueError, match=r"'\.\./\.\./secret': leads out of .*JPEGImages"):
        data.PascalVOC(tmp_path)


def test_no_module_unpickles_evaluates_or_unpacks_by_itself():
    """Files are read by torch.load with weights_only=True, JSON, Pillow or SciPy; archives by torchvision."""
    banned_modules = {"pickle", "cPickle", "dill", "joblib", "marshal", "shelve", "cloudpickle", "yaml", "tarfile"}
    banned_calls = {"eval", "exec", "compile", "__import__", "extract", "extractall", "unpack_archive", "system"}
    banned_calls |= {"popen"}
    loading = ("torch.load", "np.load", "numpy.load", "get_state_dict", "load_state_dict_from_url")
    packages = ("annotator", "experiments", "loaders", "support", "training")
    sources = [*ROOT.glob("*.py"), *(file for package in packages for file in ROOT.glob(f"{package}/*.py"))]
    assert len(sources) > 30
    for file in sources:
        for node in ast.walk(ast.parse(file.read_text())):
            where = f"{file.name}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [a.name for a in node.names] + [getattr(node, "module", None) or ""]
                assert not {n.split(".")[0] for n in names} & banned_modules, where
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                name = called.rsplit(".", 1)[-1]
                method = isinstance(node.func, ast.Attribute)
                known = called == "re.compile" or (name == "eval" and method and not node.args)  # Module.eval()
                assert name not in banned_calls or known, where
                if called.endswith(loading):
                    assert any(k.arg == "weights_only" and ast.unparse(k.value) == "True" for k in node.keywords), where
