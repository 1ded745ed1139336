"""The verbs: one file each; `VERBS` is read by the command line and by `import tacit`."""

__all__ = ["VERBS"]

VERBS: dict[str, tuple[str, str]] = {
    "demo": ("tacit.verbs.demo:Demo", "the whole story on embedded data, in about 80 seconds"),
    "train": ("tacit.verbs.train:Train", "train a network on labelled images, or on images and masks"),
    "inspect": ("tacit.verbs.inspect:Inspect", "look at a model before the long work"),
    "synthesize": ("tacit.verbs.synthesize:Synthesize", "make samples from a trained network"),
    "distill": ("tacit.verbs.distill:Distill", "teach a student from a teacher, without data or with"),
    "quantize": ("tacit.verbs.quantize:Quantize", "give a network fewer bits: an int8 file, or fine-tuned to 2 to 7"),
    "prune": ("tacit.verbs.prune:Prune", "take channels out of a network, and let it recover without data"),
    "federate": ("tacit.verbs.federate:Federate", "train with many clients whose data differ and stay where they are"),
    "evaluate": ("tacit.verbs.evaluate:Evaluate", "measure networks on labelled images, and pools of samples"),
    "similarity": ("tacit.verbs.similarity:Similarity", "rank sets of images by how near they are to a model's training data"),
    "compare": ("tacit.verbs.compare:Compare", "set runs side by side: a table, a picture and a page, over seeds"),
    "report": ("tacit.verbs.report:Report", "write one self-contained page of a run"),
    "export": ("tacit.verbs.export:Export", "write a pool as image folder, or a model as ONNX"),
}
"""Where each verb is, and what it does; nothing heavy is imported to read this."""
