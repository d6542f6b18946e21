"""Peak memory of an explanation, above what the loaded network needs: each job in a process of its own (Linux).

    python benchmarks/memory.py                    # ResNet-50 at layer2: 8 and 64 images, and the released procedure

Memory is bounded by default: 64 images must not need more than 1.5 times what 8 need.
"""

import argparse
import resource
import subprocess
import sys
import warnings

JOBS = {"8 images": 8, "64 images": 64, "released procedure, 1 image": 0}


def measure(network: str, layer: str, images: int, quality: str) -> int:
    """Peak resident bytes while explaining, above those before."""
    import torch
    import torchvision
    from official import official_procedure

    from bitlens import IBA
    from bitlens.errors import BitlensWarning

    warnings.simplefilter("ignore", BitlensWarning)
    model = torchvision.models.get_model(network, weights=None).eval()
    iba = IBA(model, layer, quality=quality, precision="float32")
    iba.fit_statistics([torch.randn(2, 3, 224, 224)], granularity="channel")
    batch = torch.randn(max(images, 1), 3, 224, 224)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if images:
        iba.explain(batch, 7, evidence_samples=0)
    else:
        noise = iba.statistics.noise(iba.noise)
        official_procedure(model, model.get_submodule(layer), batch, 7, noise.mean, noise.std, steps=2)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024


def main() -> None:
    """Measure every job, print megabytes and ratios to the first."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="resnet50")
    parser.add_argument("--layer", default="layer2")
    parser.add_argument("--quality", default="fast")
    parser.add_argument("--images", type=int, help="used by this program to measure one job")
    arguments = parser.parse_args()
    settings = [arguments.network, arguments.layer]
    if arguments.images is not None:
        print(measure(*settings, arguments.images, arguments.quality))
        return
    print(f"{arguments.network} at {arguments.layer}, quality {arguments.quality}: peak above the loaded network")
    first = 0
    for name, images in JOBS.items():
        command = [sys.executable, __file__, "--network", arguments.network, "--layer", arguments.layer]
        command += ["--quality", arguments.quality, "--images", str(images)]
        needed = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        first = first or needed
        print(f"  {name:30s} {needed / 2**20:8.0f} MiB   {needed / first:5.2f} of the first", flush=True)


if __name__ == "__main__":
    main()
