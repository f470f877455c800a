"""Faults in where images come from: folders, label maps, named sets and their outside groups."""

from benchmarks.faults.fault import Fault

T_FOLDERS, T_NAMED, T_COMPANIONS = (f"tests/data/test_{name}.py" for name in ("folders", "named", "companions"))

DATA: tuple[Fault, ...] = (
    Fault(
        "maps-validated-on-test",
        "Images with label maps are validated on their test images: selection sees the test set.",
        "study/data/maps.py",
        "validation=source.train.take(free[n_test : n_test + n_validation])",
        "validation=source.train.take(free[:n_validation])",
        ("tests/data/test_maps.py",),
    ),
    Fault(
        "void-is-a-class",
        "Pixels that a label map leaves open are a class of their own, learnt and measured.",
        "study/data/decode.py",
        "{MAP_IGNORED: IGNORED} if meaning is None else meaning",
        "{} if meaning is None else meaning",
        (T_FOLDERS,),
    ),
    Fault(
        "known-classes-to-reject",
        "Classes that a model knows under another name are counted as unknown ones to reject.",
        "study/data/outside.py",
        "(*source.classes, *shows_known)",
        "source.classes",
        (T_COMPANIONS,),
    ),
    Fault(
        "other-data-elsewhere",
        "A node without the decoded images trains on whatever lies under that name there.",
        "study/data/kept.py",
        "            if found.fingerprint() != self.fingerprint:\n"
        '                raise InputError(f"{where}, and {self.asked.name} has other images there\\n{advice}")\n',
        "",
        (T_FOLDERS,),
    ),
    Fault(
        "letters-lie-on-their-side",
        "EMNIST's letters lie on their side: near sets of upright digits become easy to reject.",
        "study/data/adapters.py",
        "np.asarray(opened.data).transpose(0, 2, 1)",
        "np.asarray(opened.data)",
        (T_NAMED,),
    ),
)
