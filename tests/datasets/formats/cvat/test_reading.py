"""CVAT's tracks, keyframes, attributes, steps and projects, by hand-computed boxes."""

from __future__ import annotations

import zipfile
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

import numpy as np
import pytest
from actiontubes.datasets.errors import InputError
from actiontubes.datasets.file_options import FileOptions
from actiontubes.datasets.formats.annotation_format import GroundTruth
from actiontubes.datasets.formats.registry import find_format, read_annotations
from actiontubes.datasets.storage import zip_file

LABELS = {"person": [("action", "select", ["walk", "wave"]), ("phone", "checkbox", ["false"])]}


def box(
    frame: int,
    corners: tuple[float, ...],
    *,
    outside: int = 0,
    keyframe: int = 1,
    **attributes: str,
) -> str:
    x1, y1, x2, y2 = (f"{each:.2f}" for each in corners)
    inside = "".join(
        f"      <attribute name={quoteattr(name)}>{escape(value)}</attribute>\n"
        for name, value in attributes.items()
    )
    return (
        f'    <box frame="{frame}" outside="{outside}" occluded="0" keyframe="{keyframe}" '
        f'xtl="{x1}" ytl="{y1}" xbr="{x2}" ybr="{y2}" z_order="0">\n{inside}    </box>\n'
    )


def track(number: int, *shapes: str, label: str = "person", more: str = "") -> str:
    return (
        f'  <track id="{number}" label={quoteattr(label)} source="manual"{more}>\n'
        f"{''.join(shapes)}  </track>\n"
    )


def label_list(labels: dict[str, list[tuple[str, str, list[str]]]]) -> str:
    def one(attribute: tuple[str, str, list[str]]) -> str:
        name, kind, values = attribute
        return (
            f"<attribute><name>{escape(name)}</name><mutable>True</mutable><input_type>{kind}"
            f"</input_type><default_value>{escape(values[0])}</default_value><values>"
            f"{escape(chr(10).join(values))}</values></attribute>"
        )

    return "".join(
        f"<label><name>{escape(name)}</name><color>#ff0000</color><type>any</type><attributes>"
        f"{''.join(map(one, attributes))}</attributes></label>"
        for name, attributes in labels.items()
    )


def task(
    source: str = "clip.mp4", *, number: int = 7, start: int = 0, stop: int = 47, step: int = 1
) -> str:
    return (
        f"<id>{number}</id><name>a task</name><size>{(stop - start) // step + 1}</size>"
        f"<mode>interpolation</mode><overlap>5</overlap><created>2026-01-01</created>"
        f"<start_frame>{start}</start_frame><stop_frame>{stop}</stop_frame>"
        f"<frame_filter>{f'step={step}' if step > 1 else ''}</frame_filter>"
        f"<segments><segment><id>1</id><start>0</start><stop>{stop}</stop></segment></segments>"
        f"<original_size><width>64</width><height>48</height></original_size>"
        f"<source>{escape(source)}</source>"
    )


def annotations(
    *tracks: str,
    meta: str | None = None,
    labels: dict[str, list[tuple[str, str, list[str]]]] = LABELS,
    **of_task: int | str,
) -> str:
    if meta is None:
        described = task(**of_task)  # type: ignore[arg-type]
        meta = f"<task>{described}<labels>{label_list(labels)}</labels></task>"
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n  <version>1.1</version>\n'
        f"  <meta>{meta}<dumped>2026-01-01</dumped></meta>\n{''.join(tracks)}</annotations>\n"
    )


def save(text: str, path: Path) -> Path:
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("annotations.xml", text)
    else:
        path.write_text(text, encoding="utf-8")
    return path


LEFT, RIGHT = (0.0, 0.0, 10.0, 20.0), (10.0, 5.0, 20.0, 25.0)


def read(text: str, folder: Path, attribute: str | None = None, first: int | None = None,
         name: str = "task.xml") -> GroundTruth:  # fmt: skip
    files = FileOptions(label_attribute=attribute, first_frame=first)
    return read_annotations(save(text, folder / name), files)


def rows(truth: GroundTruth) -> list[tuple]:
    """(label, person, tube, frame, x1) of each box, sorted."""
    tubes = truth.tubes
    assert tubes.person is not None
    labels = [tubes.label_names[code] for code in tubes.label]
    columns = (labels, tubes.person.tolist(), tubes.tube.tolist(), tubes.frame.tolist(),
               tubes.boxes[:, 0].tolist())  # fmt: skip
    return sorted(zip(*columns), key=lambda row: (row[1], row[3], row[0]))


@pytest.mark.parametrize("name", ["task.xml", "task.zip"])
@pytest.mark.filterwarnings("ignore")
def test_two_tracks_of_a_task(tmp_path: Path, name: str) -> None:
    """Keyframes, an outside, an attribute that changes, and a name with &."""
    text = annotations(
        track(
            0,
            box(0, LEFT, action="walk", phone="false"),
            box(2, RIGHT, action="wave", phone="false"),
            box(3, RIGHT, action="wave", phone="false", outside=1),
            box(5, LEFT, action="wave", phone="true"),
            box(6, LEFT, action="wave", phone="true", outside=1),
        ),
        track(1, box(4, RIGHT, action="walk", phone="false"),
              box(5, RIGHT, action="walk", phone="false", outside=1)),
        source="Tom & Ann <1>.mp4",
    )  # fmt: skip
    with pytest.warns(UserWarning, match="1 boxes between keyframes were interpolated"):
        truth = read(text, tmp_path, "action", name=name)
    assert truth.tubes.video_names == ("Tom & Ann <1>",)
    assert truth.tubes.label_names == ("walk", "wave", "phone")
    assert rows(truth) == [
        ("walk", 1, 0, 0, 0.0), ("walk", 1, 0, 1, 5.0),
        ("wave", 1, 1, 2, 10.0), ("phone", 1, 3, 5, 0.0), ("wave", 1, 2, 5, 0.0),
        ("walk", 2, 4, 4, 10.0),
    ]  # fmt: skip
    assert truth.annotated_frames is not None
    assert truth.annotated_frames[:, 1].tolist() == list(range(48))


def test_all_frames_are_taken_as_they_stand(tmp_path: Path) -> None:
    text = annotations(
        track(0, box(0, LEFT), box(1, (7.0, 0.0, 9.0, 9.0), keyframe=0), box(2, RIGHT)),
        labels={"walk": []},
    )
    assert [row[3:] for row in rows(read(text, tmp_path))] == [(0, 0.0), (1, 7.0), (2, 10.0)]


def test_the_last_keyframe_is_held_where_only_keyframes_are_written(tmp_path: Path) -> None:
    text = annotations(track(0, box(0, LEFT), box(2, RIGHT)), labels={"walk": []}, stop=4)
    with pytest.warns(UserWarning, match="2 boxes after the last keyframe"):
        found = rows(read(text, tmp_path))
    assert [row[3:] for row in found] == [(0, 0.0), (1, 5.0), (2, 10.0), (3, 10.0), (4, 10.0)]


def test_frames_of_a_step_are_the_videos_own(tmp_path: Path) -> None:
    text = annotations(
        track(0, box(10, LEFT), box(20, RIGHT), box(25, RIGHT, outside=1)),
        labels={"walk": []}, start=10, stop=47, step=5,
    )  # fmt: skip
    with pytest.warns(UserWarning, match="1 boxes between"):
        truth = read(text, tmp_path)
    assert [row[2:] for row in rows(truth)] == [(0, 10, 0.0), (0, 15, 5.0), (0, 20, 10.0)]
    assert truth.annotated_frames is not None
    assert truth.annotated_frames[:, 1].tolist() == list(range(10, 48, 5))


def test_a_frame_off_the_step_is_refused(tmp_path: Path) -> None:
    text = annotations(track(0, box(3, LEFT)), labels={"walk": []}, step=5)
    with pytest.raises(InputError, match="track 0: frame 3 is none of its task"):
        read(text, tmp_path)


def test_labels_are_the_actions_where_nothing_else_is(tmp_path: Path) -> None:
    text = annotations(track(3, box(0, LEFT), label="0-resting"), labels={"0-resting": []})
    assert rows(read(text, tmp_path)) == [("0-resting", 4, 0, 0, 0.0)]


def test_the_only_attribute_is_taken_aloud(tmp_path: Path) -> None:
    labels = {"person": [("pose", "select", ["__undefined__", "walk"])]}
    text = annotations(
        track(0, box(0, LEFT, pose="walk"), box(1, LEFT, pose="__undefined__", outside=0)),
        labels=labels,
    )
    with (
        pytest.warns(UserWarning, match="the actions are the values of the attribute pose"),
        pytest.warns(UserWarning, match="1 boxes of 1 tracks show no action"),
    ):
        truth = read(text, tmp_path)
    assert rows(truth) == [("walk", 1, 0, 0, 0.0)]
    assert read(text, tmp_path, "label").tubes.label_names == ("person",)


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ({"person": [("a", "select", ["x"]), ("b", "radio", ["y"])]}, "the attributes a, b"),
        ({"man": [("a", "select", ["x"])], "dog": []}, "the labels man, dog"),
    ],
)
def test_what_could_be_several_is_refused(tmp_path: Path, labels: dict, words: str) -> None:
    names = list(labels)
    text = annotations(
        track(0, box(0, LEFT, a="x"), label=names[0]), track(1, box(0, LEFT), label=names[-1]),
        labels=labels,
    )  # fmt: skip
    with pytest.raises(InputError, match=f"{words}.*--label-attribute"):
        read(text, tmp_path)


def test_an_attribute_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--label-attribute actoin: .* .did you mean action"):
        read(annotations(track(0, box(0, LEFT))), tmp_path, "actoin")


@pytest.mark.filterwarnings("ignore")
def test_checkboxes_are_actions_of_their_own(tmp_path: Path) -> None:
    labels = {"person": [("walk", "checkbox", ["false"]), ("phone", "checkbox", ["false"])]}
    text = annotations(
        track(0, box(0, LEFT, walk="true", phone="true"), box(1, LEFT, walk="false", phone="true")),
        labels=labels,
    )
    assert rows(read(text, tmp_path)) == [
        ("phone", 1, 1, 0, 0.0), ("walk", 1, 0, 0, 0.0), ("phone", 1, 1, 1, 0.0),
    ]  # fmt: skip


@pytest.mark.filterwarnings("ignore")
def test_a_project_has_several_tasks(tmp_path: Path) -> None:
    tasks = f"<task>{task('a.mp4', number=3)}</task><task>{task('b.mp4', number=5, step=5)}</task>"
    meta = f"<project><tasks>{tasks}</tasks><labels>{label_list({'walk': []})}</labels></project>"
    text = annotations(
        track(0, box(1, LEFT), label="walk", more=' task_id="5" subset="Train"').replace(
            'frame="1"', 'frame="5"'
        ),
        track(1, box(2, RIGHT), label="walk", more=' task_id="3"'),
        meta=meta,
    )
    truth = read(text, tmp_path)
    assert truth.tubes.video_names == ("a", "b")
    assert list(zip(truth.tubes.video.tolist(), truth.tubes.frame.tolist())) == [(1, 5), (0, 2)]
    assert truth.annotated_frames is not None
    assert (truth.annotated_frames[:, 0] == 1).sum() == 10


def test_an_unknown_task_is_refused(tmp_path: Path) -> None:
    tasks = f"<task>{task(number=3)}</task><task>{task('b', number=4)}</task>"
    meta = f"<project><tasks>{tasks}</tasks></project>"
    text = annotations(track(0, box(0, LEFT), more=' task_id="9"'), meta=meta)
    with pytest.raises(InputError, match="track 0: its task '9' is not in <meta>"):
        read(text, tmp_path)


def test_two_tasks_of_one_video_must_not_overlap(tmp_path: Path) -> None:
    for number, start in ((1, 0), (2, 24)):
        text = annotations(track(0, box(start, LEFT), box(start + 1, LEFT, outside=1)),
                           labels={"person": []}, start=start, stop=start + 23)  # fmt: skip
        save(text, tmp_path / f"{number}.zip")
    truth = read_annotations(tmp_path)
    assert truth.tubes.person is not None
    assert truth.tubes.person.tolist() == [1, 2]
    save(annotations(labels={"person": []}), tmp_path / "3.zip")
    with pytest.raises(InputError, match="two tasks have frame 0 of video clip"):
        read_annotations(tmp_path)


@pytest.mark.parametrize(
    ("shape", "kind", "corners"),
    [
        ('<polygon {} points="1,2;5,3;4,9"/>', "polygon", [1, 2, 5, 9]),
        ('<polyline {} points="1,2;5,3"/>', "polyline", [1, 2, 5, 3]),
        ('<points {} points="1,2;5,3"/>', "points", [1, 2, 5, 3]),
        ('<mask {} rle="1, 2" left="3" top="4" width="10" height="20"/>', "mask", [3, 4, 13, 24]),
        ('<ellipse {} cx="10" cy="10" rx="4" ry="2" rotation="90"/>', "ellipse", [8, 6, 12, 14]),
        ('<box {} xtl="0" ytl="0" xbr="10" ybr="4" rotation="90"/>', "rotated box", [3, -3, 7, 7]),
        ('<box {} xtl="0" ytl="0" xbr="2" ybr="2" rotation="45"/>', "rotated box",
         [1 - 2**0.5, 1 - 2**0.5, 1 + 2**0.5, 1 + 2**0.5]),
        ('<skeleton {}><points outside="0" points="1,2"/><points outside="0" points="4,8"/>'
         '<points outside="1" points="90,90"/></skeleton>', "skeleton", [1, 2, 4, 8]),
    ],
)  # fmt: skip
def test_shapes_become_their_bounding_boxes(
    tmp_path: Path, shape: str, kind: str, corners: list[float]
) -> None:
    drawn = shape.format('frame="0" outside="0" keyframe="1"')
    text = annotations(track(0, drawn, label="walk"), labels={"walk": []})
    with pytest.warns(UserWarning, match=f"their bounding boxes: 1 of kind {kind}"):
        truth = read(text, tmp_path)
    assert np.allclose(truth.tubes.boxes, [corners], atol=1e-12)


def test_images_are_refused(tmp_path: Path) -> None:
    text = annotations().replace("</annotations>", '<image id="0" name="a.jpg"/></annotations>')
    with pytest.raises(InputError, match=r"CVAT for images \(1 images\).*CVAT for video 1.1"):
        read(text, tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('xtl="0.00"', 'xtl="nan"', "xtl must be a number"),
        ('xtl="0.00" ', "", "the box has no xtl"),
        ('frame="0"', 'frame="-1"', "frame must be a whole number from 0 on"),
        ('frame="0"', 'frame="99999999999"', "frame must be a whole number"),
        ('id="0"', 'id="x"', "track id must be a whole number"),
        ("</annotations>", "", "not valid XML"),
        ('xbr="10.00"', 'xbr="-10.00"', "x2 < x1"),
        ("<version>", "<version>" + "<a>" * 60, "too deep"),
    ],
)  # fmt: skip
def test_damaged_files_are_refused_in_one_line(
    tmp_path: Path, old: str, new: str, words: str
) -> None:
    text = annotations(track(0, box(0, LEFT), label="walk"), labels={"walk": []})
    assert old in text
    with pytest.raises(InputError, match=words):
        read(text.replace(old, new), tmp_path)


def test_a_few_bytes_cannot_become_gigabytes(tmp_path: Path) -> None:
    far = track(0, box(0, LEFT), box(90_000_000, RIGHT), label="walk")
    with pytest.raises(InputError, match="keyframes are so far apart"):
        read(annotations(far, labels={"walk": []}, stop=90_000_000), tmp_path)


def test_entities_are_refused(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("walk")
    text = annotations(track(0, box(0, LEFT), label="walk"), labels={"walk": []})
    for declared in (
        f'<!DOCTYPE a [<!ENTITY e SYSTEM "{secret.as_uri()}">]>',
        '<!DOCTYPE a [<!ENTITY x "xxxxxxxxxx"><!ENTITY e "&x;&x;&x;">]>',
    ):
        bad = text.replace("<annotations>", f"{declared}<annotations>", 1).replace("a task", "&e;")
        with pytest.raises(InputError, match="refused for safety"):
            read(bad, tmp_path)


def test_a_zip_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "task.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("annotations.xml", b" " * (1 << 24))
    monkeypatch.setattr(zip_file, "allowed_memory", lambda size: 8 * size + (1 << 20))
    with pytest.raises(InputError, match=r"annotations.xml would be 0.0 GB"):
        read_annotations(path)


def test_damaged_and_encrypted_zips_are_refused(tmp_path: Path) -> None:
    good = save(annotations(track(0, box(0, LEFT)), labels={"person": []}), tmp_path / "a.zip")
    content = bytearray(good.read_bytes())
    content[60] ^= 255
    broken = tmp_path / "b.zip"
    broken.write_bytes(content)
    with pytest.raises(InputError, match=r"b\.zip"):
        read_annotations(broken)
    content = bytearray(good.read_bytes())
    content[6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    broken.write_bytes(content)
    with pytest.raises(InputError, match="encrypted"):
        read_annotations(broken)


def test_what_cvat_is_and_is_not(tmp_path: Path) -> None:
    assert find_format(save(annotations(), tmp_path / "a.xml")).name == "CVAT for video 1.1"
    other = tmp_path / "b.xml"
    other.write_text("<html/>")
    assert find_format(other).name == "a table"
