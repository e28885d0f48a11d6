"""Files of ground truth and detections: every format comes to the same objects, or says why not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from irkd.errors import IrkdError
from irkd.metrics.class_names import COCO_CLASSES, ClassMap, read_classes
from irkd.metrics.detection import average_precision
from irkd.metrics.detection_ground_truth import read_ground_truth
from irkd.metrics.detection_results import read_detections

# Stems with dots, upper case, different sizes; the last image has nothing in it.
SIZES = {"109fromGOPR1096.MP4.png": (96, 128), "AM_Bing_211.PNG": (100, 50), "night.jpg": (64, 64)}
NAMES = ["person", "motorbike"]
# Image, class, x, y, width, height in pixels.
OBJECTS = [
    ("109fromGOPR1096.MP4.png", 1, 10, 20, 30, 40),
    ("109fromGOPR1096.MP4.png", 0, 64, 8, 16, 32),
    ("AM_Bing_211.PNG", 0, 5, 10, 20, 30),
]
SCORES = [0.9, 0.25, 0.5]


def stem(name: str) -> str:
    return name[:-4]


def relative(name: str, box: tuple[int, ...]) -> list[float]:
    x, y, width, height = box
    rows, columns = SIZES[name]
    return [(x + width / 2) / columns, (y + height / 2) / rows, width / columns, height / rows]


def coco_truth(folder: Path, **changes: Any) -> Path:
    content = {
        "images": [
            {"id": 10 + index, "file_name": f"val/{name}", "width": size[1], "height": size[0]}
            for index, (name, size) in enumerate(SIZES.items())
        ],
        "categories": [{"id": 4, "name": "Motorbike"}, {"id": 1, "name": "person"}],
        "annotations": [
            {
                "id": index,
                "image_id": 10 + list(SIZES).index(name),
                "category_id": [1, 4][kind],
                "bbox": box,
                "area": box[2] * box[3],
                "iscrowd": 0,
            }
            for index, (name, kind, *box) in enumerate(OBJECTS)
        ],
        **changes,
    }
    path = folder / "truth.json"
    path.write_text(json.dumps(content))
    return path


def voc_xml(name: str, extra: str = "") -> str:
    rows, columns = SIZES[name]
    things = "".join(
        f"<object><name>{NAMES[kind]}</name><difficult>0</difficult><bndbox><xmin>{x + 1}</xmin>"
        f"<ymin>{y + 1}</ymin><xmax>{x + w}</xmax><ymax>{y + h}</ymax></bndbox></object>"
        for image, kind, x, y, w, h in OBJECTS
        if image == name
    )
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n<annotation><filename>other.jpg</filename>'
        f"<size><width>{columns}</width><height>{rows}</height><depth>3</depth></size>"
        f"{things}{extra}</annotation>"
    )


def voc_truth(folder: Path) -> Path:
    root = folder / "VOC"
    (root / "Annotations").mkdir(parents=True)
    for name in SIZES:
        (root / "Annotations" / f"{stem(name)}.xml").write_text(voc_xml(name))
    return root


def yolo_truth(folder: Path) -> Path:
    labels = folder / "labels"
    labels.mkdir()
    for name in list(SIZES)[:2]:  # no file for an image without objects
        lines = [
            " ".join(map(repr, [kind, *relative(name, tuple(box))]))
            for image, kind, *box in OBJECTS
            if image == name
        ]
        (labels / f"{stem(name)}.txt").write_text("\n".join(lines) + "\n")
    (labels / "classes.txt").write_text("\n".join(NAMES) + "\n")
    return labels


def coco_found(folder: Path, category: dict[int, int] | None = None) -> Path:
    numbers = category or {0: 1, 1: 4}
    path = folder / "found.json"
    content = [
        {
            "image_id": 10 + list(SIZES).index(name),
            "category_id": numbers[kind],
            "bbox": box,
            "score": score,
        }
        for (name, kind, *box), score in zip(OBJECTS, SCORES, strict=True)
    ]
    path.write_text(json.dumps(content))
    return path


def darknet_found(folder: Path) -> Path:
    content = [
        {
            "frame_id": number,
            "filename": f"C:\\data\\{name}" if number == 1 else f"/data/haze/{name}",
            "objects": [
                {
                    "class_id": [0, 3][kind],
                    "name": NAMES[kind],
                    "relative_coordinates": dict(
                        zip(
                            ("center_x", "center_y", "width", "height"),
                            relative(name, tuple(box)),
                            strict=True,
                        )
                    ),
                    "confidence": score,
                }
                for (image, kind, *box), score in zip(OBJECTS, SCORES, strict=True)
                if image == name
            ],
        }
        for number, name in enumerate(SIZES, start=1)
    ]
    path = folder / "result.json"
    path.write_text(json.dumps(content))
    return path


def yolo_found(folder: Path) -> Path:
    labels = folder / "predicted"
    labels.mkdir()
    for name in list(SIZES)[:2]:
        (labels / f"{stem(name)}.txt").write_text(
            "".join(
                " ".join(map(repr, [kind, *relative(name, tuple(box)), score])) + "\n"
                for (image, kind, *box), score in zip(OBJECTS, SCORES, strict=True)
                if image == name
            )
        )
    return labels


TRUTHS = {"coco": coco_truth, "voc": voc_truth, "yolo": yolo_truth}


def as_list(truth, entries, last) -> list[Any]:
    """Objects or detections by image stem and class name, sorted; boxes rounded to 1e-9."""
    return sorted(
        (
            Path(truth.images[image].name).name.removesuffix(".png").removesuffix(".PNG"),
            truth.classes[kind].lower(),
            *np.round(box, 9).tolist(),
            value,
        )
        for image, kind, box, value in zip(
            entries.image_index, entries.class_index, entries.boxes, last, strict=True
        )
    )


EXPECTED = sorted((stem(name), NAMES[kind], *map(float, box)) for name, kind, *box in OBJECTS)
EXPECTED_FOUND = sorted(
    (stem(name), NAMES[kind], *map(float, box), score)
    for (name, kind, *box), score in zip(OBJECTS, SCORES, strict=True)
)


@pytest.fixture
def names_file(tmp_path) -> Path:
    path = tmp_path / "coco.names"
    path.write_text("\n".join(COCO_CLASSES) + "\n")
    return path


@pytest.mark.parametrize("kind", TRUTHS)
def test_every_format_of_ground_truth_says_the_same(tmp_path, kind):
    truth = read_ground_truth(TRUTHS[kind](tmp_path), sizes=SIZES)
    assert truth.format == kind
    assert [row[:-1] for row in as_list(truth, truth, truth.ignored)] == EXPECTED
    assert len(truth.images) == 3  # the one without objects is among them
    assert not truth.ignored.any()
    assert sorted((image.height, image.width) for image in truth.images) == sorted(SIZES.values())


@pytest.mark.parametrize("kind", TRUTHS)
@pytest.mark.parametrize("found", ["coco", "darknet", "yolo"])
def test_every_format_of_detections_fits_every_ground_truth(tmp_path, kind, found):
    truth = read_ground_truth(TRUTHS[kind](tmp_path), sizes=SIZES)
    classes = None
    if found == "coco":
        if kind != "coco":  # a results file has numbers of images and classes alone
            content = json.loads(coco_found(tmp_path).read_text())
            for entry in content:
                entry["image_id"] = stem(list(SIZES)[entry["image_id"] - 10])
            (tmp_path / "found.json").write_text(json.dumps(content))
            path, classes = tmp_path / "found.json", coco_truth(tmp_path)
        else:
            path = coco_found(tmp_path)
    elif found == "darknet":
        path = darknet_found(tmp_path)
    else:
        path, classes = yolo_found(tmp_path), tmp_path / "own.names"
        classes.write_text("\n".join(NAMES))
    read = read_detections(path, truth, classes=classes)
    assert as_list(truth, read, read.scores) == EXPECTED_FOUND
    assert average_precision(truth, read).ap == 1


@pytest.mark.parametrize("kind", TRUTHS)
def test_what_is_written_as_coco_reads_as_it_was(tmp_path, kind):
    truth = read_ground_truth(TRUTHS[kind](tmp_path), sizes=SIZES)
    found = read_detections(darknet_found(tmp_path), truth)
    (tmp_path / "written.json").write_text(json.dumps(truth.to_coco()))
    (tmp_path / "results.json").write_text(json.dumps(found.to_coco(truth)))
    again = read_ground_truth(tmp_path / "written.json")
    assert min(entry["id"] for entry in truth.to_coco()["annotations"]) == 1
    assert as_list(again, again, again.ignored) == as_list(truth, truth, truth.ignored)
    read = read_detections(tmp_path / "results.json", again)
    assert as_list(again, read, read.scores) == EXPECTED_FOUND


def test_detector_numbers_are_mapped_by_name(tmp_path, names_file):
    # COCO's third class is Darknet's motorbike; by number it would be nobody's.
    truth = read_ground_truth(coco_truth(tmp_path))
    found = read_detections(coco_found(tmp_path, {0: 0, 1: 3}), truth, classes=names_file)
    assert as_list(truth, found, found.scores) == EXPECTED_FOUND


def test_words_for_one_thing_agree_and_are_said(tmp_path):
    names = {0: "Person", 1: "motorcycle", 2: "tennis racket"}
    found = ClassMap(names, ["motorbike", "person", "tennis_racket"], "x")
    assert found.translate(np.array([0, 1, 2])).tolist() == [1, 0, 2]
    assert found.notes == ["taken: motorcycle as motorbike, tennis racket as tennis_racket"]
    # Where the ground truth tells them apart, so do we.
    both = ClassMap({0: "motorcycle"}, ["motorbike", "motorcycle"], "x")
    assert both.translate(np.array([0])).tolist() == [1]


def test_other_classes_are_left_out_and_absent_ones_said(tmp_path):
    truth = read_ground_truth(coco_truth(tmp_path))
    classes = tmp_path / "mine.names"
    classes.write_text("person\nchair\nsofa\n")
    path = coco_found(tmp_path, {0: 0, 1: 1})
    found = read_detections(path, truth, classes=classes)
    assert len(found) == 2
    assert "nothing is called Motorbike" in found.notes[0]
    assert found.notes[1].startswith("1 detection of classes that the ground truth does not have")
    classes.write_text("chair\nsofa\n")
    with pytest.raises(IrkdError, match=r"none of the classes \(chair, sofa\).*Motorbike, person"):
        read_detections(path, truth, classes=classes)


def test_detections_on_other_images_are_left_out_and_said(tmp_path):
    truth = read_ground_truth(coco_truth(tmp_path))
    path = coco_found(tmp_path)
    content = json.loads(path.read_text())
    content.append({**content[0], "image_id": 99})
    path.write_text(json.dumps(content))
    found = read_detections(path, truth)
    assert len(found) == 3
    assert found.notes == (
        "detections on 1 image that the ground truth does not have left out (99)",
    )
    path.write_text(json.dumps(content[-1:]))
    with pytest.raises(IrkdError, match=r"no detection is on an image .* 99; .* val/109from"):
        read_detections(path, truth)


def test_numbers_of_images_are_numeric_names_where_there_are_no_ids(tmp_path):
    # As Darknet and others number the images of COCO: 000000000042.jpg is image 42.
    folder = tmp_path / "xml"
    folder.mkdir()
    (folder / "000000000042.xml").write_text(voc_xml("AM_Bing_211.PNG"))
    (tmp_path / "names").write_text("person\n")
    (tmp_path / "f.json").write_text(
        json.dumps([{"image_id": 42, "category_id": 0, "bbox": [5, 10, 20, 30], "score": 1}])
    )
    truth = read_ground_truth(folder)
    found = read_detections(tmp_path / "f.json", truth, classes=tmp_path / "names")
    assert average_precision(truth, found).ap == 1


def test_equal_stems_are_told_apart_by_folders(tmp_path):
    images = [
        {"id": index, "file_name": f"{scene}/0001.png", "width": 50, "height": 50}
        for index, scene in enumerate("ab")
    ]
    annotation = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 9, 9]}
    path = coco_truth(tmp_path, images=images, annotations=[annotation])
    truth = read_ground_truth(path)
    assert truth.find("B/0001.jpg") == 1
    assert truth.find("/data/set/a/0001.png") == 0
    assert truth.find("c/0001.png") is None
    assert truth.find("0001") is None
    images[1]["file_name"] = "A/0001.jpg"
    with pytest.raises(IrkdError, match="names without their suffixes must differ"):
        read_ground_truth(coco_truth(tmp_path, images=images, annotations=[annotation]))


def test_voc_difficult_objects_are_ignored_and_lists_choose(tmp_path):
    root = voc_truth(tmp_path)
    file = root / "Annotations" / "AM_Bing_211.xml"
    box = "<xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax>"
    part = f"<part><name>head</name><bndbox>{box}</bndbox></part>"
    hard = (
        f"<object><name>person</name><difficult>1</difficult>{part}<bndbox>{box}</bndbox></object>"
    )
    file.write_text(voc_xml("AM_Bing_211.PNG", hard))
    truth = read_ground_truth(root)
    assert truth.classes == ("motorbike", "person")  # and no head, a part of a person
    assert truth.ignored.sum() == 1
    assert truth.counted.sum() == 3
    main = root / "ImageSets" / "Main"
    main.mkdir(parents=True)
    (main / "test.txt").write_text("AM_Bing_211\n\n")
    few = read_ground_truth(root)
    assert [image.name for image in few.images] == ["AM_Bing_211"]
    assert "the 1 of 3 images" in few.notes[0]
    assert len(read_ground_truth(root / "Annotations").images) == 3
    (main / "test.txt").write_text("AM_Bing_211\ngone\n")
    with pytest.raises(IrkdError, match=r"names 'gone'.*1 such case in 2"):
        read_ground_truth(root)


def test_voc_counts_from_one_and_forgives_zero(tmp_path):
    name = "AM_Bing_211.PNG"
    file = tmp_path / f"{stem(name)}.xml"
    for low, expected in ((1, [0, 0, 50, 100]), (0, [0, 0, 50, 100])):
        box = f"<xmin>{low}</xmin><ymin>{low}</ymin><xmax>50</xmax><ymax>100</ymax>"
        file.write_text(
            "<annotation><size><width>50</width><height>100</height></size><object><name>bus"
            f"</name><bndbox>{box}</bndbox></object></annotation>"
        )
        assert read_ground_truth(tmp_path).boxes.tolist() == [expected]


def test_class_files(tmp_path):
    def read(name: str, text: str):
        (tmp_path / name).write_text(text)
        return read_classes(tmp_path / name)

    assert read("a.names", "person\ntraffic light\n\n") == {0: "person", 1: "traffic light"}
    assert read("data.yaml", "nc: 2\nnames: [person, bus]\n") == {0: "person", 1: "bus"}
    assert read("map.yml", "names:\n  1: person\n  3: bus\n") == {1: "person", 3: "bus"}
    assert read("map.json", '{"1": "person"}') == {1: "person"}
    assert read_classes(coco_truth(tmp_path)) == {4: "Motorbike", 1: "person"}
    for name, text, message in (
        ("empty.names", "", "holds no class names"),
        ("gap.names", "a\n\nb\n", "line 2 is empty"),
        ("twice.names", "a\nb\nA\n", "classes 0 and 2 are both called 'A'"),
        ("bad.yaml", "names: 3\n", "expected a list of class names"),
        ("bad.json", "{", "expected a list of class names"),
    ):
        with pytest.raises(IrkdError, match=message):
            read(name, text)
    assert len(set(COCO_CLASSES)) == 80
    assert (COCO_CLASSES[3], COCO_CLASSES[62], COCO_CLASSES[79]) == (
        "motorbike",
        "tvmonitor",
        "toothbrush",
    )


def spoilt(content: Any, *path: Any, value: Any) -> Any:
    place = content
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return content


@pytest.mark.parametrize(
    ("where", "value", "message"),
    [
        (("images",), [], "holds no `images`"),
        (("images", 1, "id"), 10, "image id 10 comes twice"),
        (("images", 1, "id"), "x", "image id 'x'; expected a whole number"),
        (("images", 0), {"id": 1}, r"images\[0\] has no `file_name`"),
        (("categories", 1, "id"), 4, "category id 4 comes twice"),
        (("categories", 1, "name"), "motorbike", "both called"),
        (("annotations", 1, "id"), 0, "annotation id 0 comes twice"),
        (("annotations", 1, "image_id"), 99, "image 99, which is not listed"),
        (("annotations", 1, "category_id"), 9, "category 9, which is not listed"),
        (("annotations", 1, "category_id"), [], "which is not listed"),
        (("annotations", 1, "bbox"), [1, 2, 3], "expected four numbers"),
        (("annotations", 1, "bbox"), [1, 2, float("nan"), 4], "expected four numbers"),
        (("annotations", 1, "bbox"), [1, 2, -3, 4], "width -3"),
        (("annotations", 1, "bbox"), [900, 2, 3, 4], "128 x 96 pixels, has a box outside of it"),
        (("annotations",), [], "no objects in its 3 images"),
        (("annotations",), None, "holds no `annotations`"),
    ],
    ids=str,
)
def test_wrong_coco_ground_truth_says_what_is_wrong(tmp_path, where, value, message):
    content = json.loads(coco_truth(tmp_path).read_text())
    (tmp_path / "truth.json").write_text(json.dumps(spoilt(content, *where, value=value)))
    with pytest.raises(IrkdError, match=message):
        read_ground_truth(tmp_path / "truth.json")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("{", "damaged or no JSON"),
        ("[" * 100_000, "damaged or no JSON"),
        ("[]", "is a list, as detections are"),
        ("3", "holds no `categories`"),
    ],
)
def test_files_that_are_no_ground_truth(tmp_path, text, message):
    (tmp_path / "t.json").write_text(text)
    with pytest.raises(IrkdError, match=message):
        read_ground_truth(tmp_path / "t.json")


def test_missing_and_empty_ground_truth(tmp_path):
    with pytest.raises(IrkdError, match="no such file"):
        read_ground_truth(tmp_path / "gone.json")
    (tmp_path / "classes.txt").write_text("a\n")
    with pytest.raises(IrkdError, match=r"neither \.xml nor \.txt"):
        read_ground_truth(tmp_path)
    (tmp_path / "classes.txt").rename(tmp_path / "1.txt")
    with pytest.raises(IrkdError, match="Name them with --classes"):
        read_ground_truth(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("<annotation>", "damaged or no XML"),
        ("<html/>", "holds <html>"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><annotation>&b;</annotation>', "document type"),
        ("<annotation><object/></annotation>", "no <name>"),
        ("<annotation><object><name>a</name></object></annotation>", "no number as its <xmin>"),
        (
            "<annotation><object><name>a</name><bndbox><xmin>nan</xmin><ymin>1</ymin><xmax>2</xmax>"
            "<ymax>2</ymax></bndbox></object></annotation>",
            "expected finite numbers",
        ),
        (
            "<annotation><object><name>a</name><bndbox><xmin>9</xmin><ymin>1</ymin><xmax>2</xmax>"
            "<ymax>2</ymax></bndbox></object></annotation>",
            "ends before it begins",
        ),
    ],
)
def test_wrong_xml_says_what_is_wrong(tmp_path, text, message):
    (tmp_path / "a.xml").write_text(text)
    with pytest.raises(IrkdError, match=message):
        read_ground_truth(tmp_path)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0 0.5 0.5 0.1", r"line 1: 4 values; expected 5: class x y width height\."),
        ("0 0.5 0.5 0.1 0.1 0.9", "6 values"),
        ("person 0.5 0.5 0.1 0.1", "expected numbers"),
        ("0 0.5 nan 0.1 0.1", "expected finite numbers"),
        ("7 0.5 0.5 0.1 0.1", "class 7 is not among the 2 that are named"),
        ("0.5 0.5 0.5 0.1 0.1", r"class 0\.5 is not among"),
        ("0 64 48 20 20", "not in pixels"),
    ],
)
def test_wrong_yolo_labels_say_what_is_wrong(tmp_path, line, message):
    labels = yolo_truth(tmp_path)
    (labels / "night.txt").write_text(line + "\n")
    with pytest.raises(IrkdError, match=message):
        read_ground_truth(labels, sizes=SIZES)


def test_yolo_labels_need_images(tmp_path):
    labels = yolo_truth(tmp_path)
    with pytest.raises(IrkdError, match="--images DIR"):
        read_ground_truth(labels)
    (labels / "stray.txt").write_text("")
    with pytest.raises(IrkdError, match=r"stray\.txt has no image of its name"):
        read_ground_truth(labels, sizes=SIZES)


@pytest.mark.parametrize(
    ("where", "value", "message"),
    [
        ((1, "score"), float("nan"), "confidence nan; expected a finite number"),
        ((1, "score"), "0.9", "confidence '0.9'"),
        ((1, "score"), True, "confidence True"),
        ((1, "bbox"), [1, 2, 3], "expected four finite numbers"),
        ((1, "bbox"), [1, 2, float("inf"), 1], "expected four finite numbers"),
        ((1, "bbox"), [10, 10, -5, 5], "width -5"),
        ((1, "category_id"), 77, "class 77 is not among those that are named .*4 Motorbike"),
        ((1, "image_id"), None, "image_id None"),
        ((1,), {"image_id": 10}, "entry 1 has no `category_id`"),
        ((1,), 3, "expected a list of detections"),
    ],
    ids=str,
)
def test_wrong_coco_detections_say_what_is_wrong(tmp_path, where, value, message):
    truth = read_ground_truth(coco_truth(tmp_path))
    content = json.loads(coco_found(tmp_path).read_text())
    (tmp_path / "found.json").write_text(json.dumps(spoilt(content, *where, value=value)))
    with pytest.raises(IrkdError, match=message):
        read_detections(tmp_path / "found.json", truth)


@pytest.mark.parametrize(
    ("where", "value", "message"),
    [
        ((1, "filename"), "/other/109fromGOPR1096.MP4.jpg", "holds image .* twice"),
        ((0, "objects", 0, "confidence"), float("nan"), "confidence nan"),
        ((0, "objects", 0, "relative_coordinates"), {"center_x": 1}, "expected shares"),
        ((0, "objects", 0, "relative_coordinates", "width"), 300, "expected shares"),
        ((0, "objects", 0), {}, "which Darknet's result.json has"),
        ((0, "objects", 0, "class_id"), "x", "class 'x'"),
        ((0, "objects", 0, "name"), "person", "called 'motorbike' here and 'person'"),
        ((0, "objects"), None, "no `filename` or no `objects`"),
    ],
    ids=str,
)
def test_wrong_darknet_detections_say_what_is_wrong(tmp_path, where, value, message):
    truth = read_ground_truth(coco_truth(tmp_path))
    content = json.loads(darknet_found(tmp_path).read_text())
    if where[-1] == "name":
        content[0]["objects"].append({**content[0]["objects"][0]})
    (tmp_path / "result.json").write_text(json.dumps(spoilt(content, *where, value=value)))
    with pytest.raises(IrkdError, match=message):
        read_detections(tmp_path / "result.json", truth)


def test_yolo_detections_need_confidences_and_names(tmp_path):
    truth = read_ground_truth(coco_truth(tmp_path))
    folder = yolo_found(tmp_path)
    with pytest.raises(IrkdError, match="--detector-classes"):
        read_detections(folder, truth)
    names = tmp_path / "own.names"
    names.write_text("\n".join(NAMES))
    (folder / "night.txt").write_text("0 0.5 0.5 0.1 0.1\n")
    with pytest.raises(IrkdError, match=r"5 values; expected 6.*confidences"):
        read_detections(folder, truth, classes=names)
    (folder / "night.txt").write_text("0 0.5 0.5 0.1 0.1 nan\n")
    with pytest.raises(IrkdError, match="expected finite numbers"):
        read_detections(folder, truth, classes=names)
    (tmp_path / "none").mkdir()
    with pytest.raises(IrkdError, match=r"holds no \.txt files"):
        read_detections(tmp_path / "none", truth, classes=names)


def test_boxes_outside(tmp_path):
    truth = read_ground_truth(coco_truth(tmp_path))
    path = coco_found(tmp_path)
    content = json.loads(path.read_text())
    content[0]["bbox"] = [500, 500, 10, 10]
    path.write_text(json.dumps(content))
    assert read_detections(path, truth).notes == ("1 of 3 boxes lie outside their images",)
    content[1]["bbox"] = [500, 500, 10, 10]
    path.write_text(json.dumps(content))
    with pytest.raises(IrkdError, match=r"2 of 3 boxes lie outside .* in pixels of the original"):
        read_detections(path, truth)


def test_empty_detections(tmp_path):
    truth = read_ground_truth(coco_truth(tmp_path))
    path = tmp_path / "found.json"
    path.write_text("[]")
    assert average_precision(truth, read_detections(path, truth)).ap50 == 0
    path.write_text("")
    with pytest.raises(IrkdError, match="is empty"):
        read_detections(path, truth)
    with pytest.raises(IrkdError, match="is ground truth; detections are a list"):
        read_detections(coco_truth(tmp_path), truth)


def test_relative_boxes_need_a_size(tmp_path):
    content = json.loads(coco_truth(tmp_path).read_text())
    for image in content["images"]:
        del image["width"]
    (tmp_path / "truth.json").write_text(json.dumps(content))
    truth = read_ground_truth(tmp_path / "truth.json")
    with pytest.raises(IrkdError, match=r"size of val/109.*--images DIR"):
        read_detections(darknet_found(tmp_path), truth)
    truth = read_ground_truth(tmp_path / "truth.json", sizes=SIZES)
    assert average_precision(truth, read_detections(darknet_found(tmp_path), truth)).ap == 1


def test_strange_boxes_of_the_ground_truth_are_said(tmp_path):
    content = json.loads(coco_truth(tmp_path).read_text())
    content["annotations"][0]["bbox"] = [10, 10, 0, 5]
    content["annotations"][1]["bbox"] = [100, 8, 60, 32]
    (tmp_path / "truth.json").write_text(json.dumps(content))
    truth = read_ground_truth(tmp_path / "truth.json")
    assert truth.notes == ("1 box without area left out", "1 box partly outside the image")
    assert len(truth.boxes) == 2


def places(content: Any, *path: Any):
    """The path of every value in `content`, the innermost last."""
    inner = content.items() if isinstance(content, dict) else enumerate(content)
    for key, value in inner:
        yield (*path, key)
        if isinstance(value, dict | list):
            yield from places(value, *path, key)


@pytest.mark.parametrize("write", [coco_truth, coco_found, darknet_found])
def test_any_value_of_another_kind_is_taken_or_refused(tmp_path, write):
    """Whatever stands where, reading ends with objects or an IrkdError, never another exception."""
    truth = read_ground_truth(coco_truth(tmp_path))
    text = write(tmp_path).read_text()
    file = tmp_path / "spoilt.json"
    refused = 0
    for path in list(places(json.loads(text))):
        for value in (None, [], {}, "x", -1, 10**400, float("nan"), True):
            file.write_text(json.dumps(spoilt(json.loads(text), *path, value=value)))
            try:
                read_ground_truth(file) if write is coco_truth else read_detections(file, truth)
            except IrkdError:
                refused += 1
    assert refused > 50
