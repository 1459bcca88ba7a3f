"""The guest payloads: what each needs, and how many checks it makes at least."""
import dataclasses


@dataclasses.dataclass(frozen=True)
class Payload:
    name: str
    checks: int  # at least; a payload that makes fewer has lost some
    cpus: int = 1
    memory: str = "64M"
    seconds: int = 180
    ends_by: str = "debug-exit"  # or "poweroff"
    engines: tuple = ("soft", "kvm")
    options: tuple = ()  # of atoll run; {dir}: a directory with an empty one, "share", and 2 MiB, "pmem"
    peak_mib: int = 0  # the most memory that its VM may have had; 0: any
    # Checks fewer than `checks` where the host's processor lacks a feature, by the feature's name.
    lacking: tuple = ()


VIRTIO_DEVICES = (
    "--disk", "/proc/self/exe,format=raw,readonly=on,queues=2", "--net", "none,queues=2", "--rng", "--balloon",
    "--vsock", "{dir}/vsock", "--console", "file:/dev/null", "--port", "unix:{dir}/port,name=port",
    "--keyboard", "virtio", "--tablet", "--pmem", "{dir}/pmem", "--share", "{dir}/share,tag=share")

PAYLOADS = [
    Payload("paging64", 121),
    Payload("tlb64", 38, lacking=(("PCID", 16),)),
    Payload("paging32", 34),
    Payload("pae32", 35),
    Payload("segments32", 95),
    Payload("gates32", 51),
    Payload("tasks32", 51),
    Payload("vm86_32", 61),
    Payload("realmode32", 12),
    Payload("a20_32", 10, engines=("soft",)),
    Payload("control64", 57),
    Payload("debug64", 36),
    Payload("doublefault64", 13),
    Payload("faults64", 86),
    Payload("fpu64", 56),
    Payload("gates64", 50),
    Payload("singlestep64", 27),
    Payload("smc64", 19),
    Payload("codegen64", 1),
    Payload("syscall64", 21),
    Payload("apic64", 55),
    Payload("smp64", 33, cpus=2),
    Payload("irq64", 23),
    Payload("clocks64", 12),
    Payload("pci64", 93, options=("--test-card",)),
    Payload("virtio64", 75, options=("--disk", "/proc/self/exe,format=raw,readonly=on,queues=2")),
    Payload("virtio_devices64", 162, memory="64M,max=128M", options=VIRTIO_DEVICES, peak_mib=64),
    Payload("reset64", 8, cpus=2),
    Payload("poweroff32", 2, ends_by="poweroff"),
]
