/*
 * atoll run: the options of a virtual machine and how each is read.
 */
#include "base/host_time.h"
#include "base/log.h"
#include "base/properties.h"
#include "base/trace.h"
#include "cli/catalogue.h"
#include "cli/command.h"
#include "cli/run_options.h"
#include "cli/run_setters.h"
#include "cli/vm_spec.h"
#include "vmm/boot_order.h"
#include "vmm/disk.h"
#include "vmm/firmware.h"
#include "vmm/ports.h"
#include "vmm/watchdog.h"
#include "vmm/vm.h"
#include "vmm/serial.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int set_engine(void *target, const char *value, struct error *err)
{
	struct run_options *options = target;

	return run_set_word(&options->vm.engine, "engine", value, "auto kvm soft", err);
}

static int set_board(void *target, const char *value, struct error *err)
{
	struct run_options *options = target;

	options->vm.chipset = NULL;
	if (strcmp(value, "pc,chipset=q35") == 0)
		options->vm.chipset = "q35";
	else if (strcmp(value, "pc,chipset=i440fx") == 0)
		options->vm.chipset = "i440fx";
	if (options->vm.chipset) {
		options->vm.board = "pc";
		return 0;
	}
	return run_set_word(&options->vm.board, "board", value, "micro pc", err);
}

static int set_firmware(void *target, const char *value, struct error *err)
{
	struct run_options *options = target;
	struct firmware_option firmware;
	int rc = firmware_option_parse(&firmware, value, err);

	firmware_option_finish(&firmware);
	options->vm.firmware = value;
	return rc;
}

static int set_firmware_vars(void *target, const char *value, struct error *err)
{
	struct run_options *options = target;

	(void)err;
	options->vm.firmware_vars = value;
	return 0;
}

static int set_boot(void *target, const char *value, struct error *err)
{
	struct run_options *options = target;
	struct boot_order order;

	options->vm.boot = value;
	return boot_order_parse(&order, value, err);
}

static int set_firmware_log(void *target, const char *value, struct error *err)
{
	struct run_options *options = target;

	(void)err;
	options->vm.firmware_log = value;
	return 0;
}

static int set_cpu(void *target, const char *value, struct error *err)
{
	struct run_options *options = target;

	return run_set_word(&options->vm.cpu, "cpu", value, cpu_model_names(), err);
}

static int set_soft_mode(void *target, const char *value, struct error *err)
{
	struct run_options *options = target;
	const char *mode;

	if (run_set_word(&mode, "soft-mode", value, "interpret translate direct", err))
		return -EINVAL;
	options->vm.soft_direct = strncmp(mode, "direct", 6) == 0;
	options->vm.soft_mode =
		strncmp(mode, "interpret", 9) == 0 ? SOFT_MODE_INTERPRET : SOFT_MODE_TRANSLATE;
	return 0;
}

static int set_kernel(void *target, const char *value, struct error *err)
{
	struct run_options *options = target;

	(void)err;
	options->vm.kernel = value;
	return 0;
}

static int set_initrd(void *target, const char *value, struct error *err)
{
	struct run_options *options = target;

	if (options->vm.nr_initrds == VM_MAX_INITRDS)
		return error_set(err, EXIT_CODE_USAGE, "--initrd can be given %u times at most",
			VM_MAX_INITRDS);
	options->vm.initrds[options->vm.nr_initrds++] = value;
	return 0;
}

static int set_net(void *target, const char *value, struct error *err)
{
	struct run_options *options = target;

	if (options->vm.nr_nets == VM_MAX_NETS)
		return error_set(
			err, EXIT_CODE_USAGE, "--net can be given %u times at most", VM_MAX_NETS);
	options->vm.nets[options->vm.nr_nets++] = value;
	return 0;
}

static int set_console(void *target, const char *value, struct error *err)
{
	struct run_options *options = target;

	options->vm.console = value;
	return ports_check_console(value, err);
}

static int set_port(void *target, const char *value, struct error *err)
{
	struct run_options *options = target;

	if (options->vm.nr_ports == VM_MAX_PORTS)
		return error_set(
			err, EXIT_CODE_USAGE, "--port can be given %u times at most", VM_MAX_PORTS);
	options->vm.ports[options->vm.nr_ports++] = value;
	return ports_check_port(value, err);
}

static int set_rng(void *target, const char *value, struct error *err)
{
	struct run_options *options = target;

	(void)value;
	(void)err;
	options->vm.rng = true;
	return 0;
}

static int set_balloon(void *target, const char *value, struct error *err)
{
	struct run_options *options = target;

	(void)value;
	(void)err;
	options->vm.balloon = true;
	return 0;
}

static int set_vsock(void *target, const char *value, struct error *err)
{
	struct run_options *options = target;

	(void)err;
	options->vm.vsock = value;
	return 0;
}

static int set_append(void *target, const char *value, struct error *err)
{
	struct run_options *options = target;

	(void)err;
	options->vm.append = value;
	return 0;
}

static int parse_number(const char *text, int base, uint64_t *value, const char **rest)
{
	char *end;

	if (!isdigit((unsigned char)*text))
		return -EINVAL;
	errno = 0;
	*value = strtoull(text, &end, base);
	*rest = end;
	return errno ? -EINVAL : 0;
}

static int parse_memory(const char *value, uint64_t *result, struct error *err)
{
	uint64_t bytes;

	if (size_parse(value, 1 << 20, &bytes))
		return error_set(err, EXIT_CODE_USAGE,
			"--memory cannot read '%s'; give a number and K, M, G or T, such as 512M",
			value);
	if (bytes > UINT64_C(1) << 40 || bytes < 1 << 20)
		return error_set(err, EXIT_CODE_CONFIG,
			"--memory %s is out of range; give between 1M and 1T", value);
	*result = align_down(bytes, GUEST_PAGE_SIZE);
	return 0;
}

static int set_pmem(void *target, const char *value, struct error *err)
{
	struct run_options *options = target;

	if (options->vm.nr_pmems == VM_MAX_PMEMS)
		return error_set(
			err, EXIT_CODE_USAGE, "--pmem can be given %u times at most", VM_MAX_PMEMS);
	options->vm.pmems[options->vm.nr_pmems++] = value;
	return 0;
}

static int set_memory(void *target, const char *value, struct error *err)
{
	struct run_options *options = target;
	const char *comma = strchr(value, ',');
	char start[32];

	snprintf(start, sizeof(start), "%.*s", comma ? (int)(comma - value) : 31, value);
	options->vm.memory_max_bytes = 0;
	if (comma && strncmp(comma, ",max=", 5) != 0)
		return error_set(err, EXIT_CODE_USAGE,
			"--memory does not know '%s'; give a size and perhaps ,max=SIZE",
			comma + 1);
	if (parse_memory(start, &options->vm.memory_bytes, err) ||
		(comma && parse_memory(comma + 5, &options->vm.memory_max_bytes, err)))
		return -EINVAL;
	if (comma && options->vm.memory_max_bytes < options->vm.memory_bytes)
		return error_set(err, EXIT_CODE_CONFIG,
			"--memory %s: the maximum is less than the guest starts with", value);
	return 0;
}

static int set_cpus(void *target, const char *value, struct error *err)
{
	struct run_options *options = target;
	uint64_t number;
	const char *rest;

	if (parse_number(value, 10, &number, &rest) || *rest)
		return error_set(err, EXIT_CODE_USAGE,
			"--cpus cannot read '%s'; give a number, such as 2", value);
	if (number < 1 || number > MACHINE_MAX_VCPUS)
		return error_set(err, EXIT_CODE_CONFIG,
			"--cpus %s is out of range; a machine has between 1 and %u processors",
			value, MACHINE_MAX_VCPUS);
	options->vm.nr_cpus = (unsigned)number;
	return 0;
}

static int set_serial(void *target, const char *value, struct error *err)
{
	struct run_options *options = target;
	enum serial_kind kind;
	const char *path;

	options->vm.serial = value;
	return serial_parse(value, &kind, &path, err);
}

static int set_share(void *target, const char *value, struct error *err)
{
	struct run_options *options = target;

	if (options->vm.nr_shares == VM_MAX_SHARES)
		return error_set(err, EXIT_CODE_USAGE, "--share can be given %u times at most",
			VM_MAX_SHARES);
	options->vm.shares[options->vm.nr_shares++] = value;
	return 0;
}

static int set_debug_exit(void *target, const char *value, struct error *err)
{
	struct run_options *options = target;
	uint64_t number;
	const char *rest;

	if (parse_number(value, 0, &number, &rest) || *rest || number > 0xfffc)
		return error_set(err, EXIT_CODE_USAGE,
			"--debug-exit cannot read '%s'; give a port number, such as 0x501", value);
	options->vm.debug_exit_port = (int)number;
	return 0;
}

static int set_pci(void *target, const char *value, struct error *err)
{
	struct run_options *options = target;

	(void)value;
	(void)err;
	options->vm.pci = true;
	return 0;
}

static int set_test_card(void *target, const char *value, struct error *err)
{
	struct run_options *options = target;

	(void)value;
	(void)err;
	options->vm.test_card = true;
	return 0;
}

static int set_disk(void *target, const char *value, struct error *err)
{
	struct run_options *options = target;
	struct disk_options disk;
	int rc = disk_options_parse(&disk, "disk", value, err);

	disk_options_finish(&disk);
	if (rc < 0)
		return rc;
	if (options->vm.nr_disks == VM_MAX_DISKS)
		return error_set(
			err, EXIT_CODE_USAGE, "--disk can be given %u times at most", VM_MAX_DISKS);
	options->vm.disks[options->vm.nr_disks++] = value;
	return 0;
}

static int set_cdrom(void *target, const char *value, struct error *err)
{
	struct run_options *options = target;
	struct disk_options disk;
	int rc = disk_options_parse(&disk, "cdrom", value, err);

	disk_options_finish(&disk);
	if (rc < 0)
		return rc;
	if (options->vm.nr_cdroms == VM_MAX_CDROMS)
		return error_set(err, EXIT_CODE_USAGE, "--cdrom can be given %u times at most",
			VM_MAX_CDROMS);
	options->vm.cdroms[options->vm.nr_cdroms++] = value;
	return 0;
}

static int set_floppy(void *target, const char *value, struct error *err)
{
	struct run_options *options = target;
	struct disk_options disk;
	int rc = disk_options_parse(&disk, "floppy", value, err);

	disk_options_finish(&disk);
	if (rc < 0)
		return rc;
	if (options->vm.nr_floppies == VM_MAX_FLOPPIES)
		return error_set(err, EXIT_CODE_USAGE, "--floppy can be given %u times at most",
			VM_MAX_FLOPPIES);
	options->vm.floppies[options->vm.nr_floppies++] = value;
	return 0;
}

static int set_agent(void *target, const char *value, struct error *err)
{
	struct run_options *options = target;

	(void)value;
	(void)err;
	options->vm.agent = true;
	return 0;
}

static int set_no_reboot(void *target, const char *value, struct error *err)
{
	struct run_options *options = target;

	(void)value;
	(void)err;
	options->vm.no_reboot = true;
	return 0;
}

static int set_time(void *target, const char *value, struct error *err)
{
	struct run_options *options = target;

	(void)value;
	(void)err;
	options->vm.print_time = true;
	return 0;
}

static int set_stats(void *target, const char *value, struct error *err)
{
	struct run_options *options = target;

	options->vm.print_stats = true;
	for (; value; value = strchr(value, ',')) {
		value += *value == ',';
		if (strncmp(value, "json", 4) == 0 && strchr(",", value[4]))
			options->vm.stats_as_json = true;
		else if (strncmp(value, "exact", 5) == 0 && strchr(",", value[5]))
			options->vm.count_exactly = true;
		else
			return error_set(err, EXIT_CODE_USAGE,
				"--stats does not know '%s'; use json, exact or both: "
				"--stats=json,exact",
				value);
	}
	return 0;
}

static int set_dump_code(void *target, const char *value, struct error *err)
{
	struct run_options *options = target;

	(void)err;
	options->vm.dump_code = value;
	return 0;
}

static int set_trace(void *target, const char *value, struct error *err)
{
	struct run_options *options = target;

	(void)err;
	options->trace = value;
	return 0;
}

static int set_name(void *target, const char *value, struct error *err)
{
	struct run_options *options = target;

	options->name = value;
	return bundle_check_name(value, err);
}

static int set_quiet(void *target, const char *value, struct error *err)
{
	(void)target;
	(void)value;
	(void)err;
	log_set_level(LOG_WARNING);
	return 0;
}

const struct option_spec run_option_table[] = {
	{ "name", "NAME",
		"Make it a VM with a name: its options are kept in a directory, 'atoll ls' shows "
		"it, 'atoll stop' ends it, 'atoll start' starts it again.",
		NULL, COMPLETE_NOTHING, NULL, set_name },
	{ "engine", "auto|kvm|soft",
		"What executes the processors. auto takes KVM where hardware backs it, else the "
		"software engine, and says which in one line.",
		"auto", COMPLETE_WORDS, "auto kvm soft", set_engine },
	{ "board", "micro|pc[,chipset=q35|i440fx]",
		"The hardware around the processors: micro has timers, interrupt controllers, a "
		"clock, one serial line and ACPI; pc is a whole PC, which firmware can start.",
		"pc with firmware, else micro", COMPLETE_WORDS,
		"micro pc pc,chipset=q35 pc,chipset=i440fx", set_board },
	{ "firmware", "bios|uefi|FILE[,secure=on]",
		"What a PC without --kernel starts with: bios is SeaBIOS, uefi is OVMF, FILE an "
		"image that ends at 4 GiB. The VM's directory keeps UEFI's variables. secure=on: "
		"OVMF with Secure Boot.",
		"bios", COMPLETE_FILE, NULL, set_firmware },
	{ "firmware-vars", "FILE",
		"What the variables of the firmware are at first: flash memory of this content "
		"below its code.",
		"with uefi OVMF's", COMPLETE_FILE, NULL, set_firmware_vars },
	{ "boot", "order=LETTERS[,menu=on][,wait=MILLISECONDS]",
		"What firmware tries, in which order: c disks, a floppies, d discs, n the network; "
		"first of all what has boot=N. menu=on: it waits, 5000 ms unless said, for "
		"somebody who wants to choose.",
		"order=cadn", COMPLETE_WORDS, "order= menu=on", set_boot },
	{ "firmware-log", "FILE", "Write what the firmware prints on its debug console into FILE.",
		NULL, COMPLETE_FILE, NULL, set_firmware_log },
	{ "cpu", "MODEL", "What CPUID says: max is all that the host and the engine have.", "max",
		COMPLETE_WORDS, "max x86-64-v3 x86-64-v2 x86-64 pentium3 pentium2", set_cpu },
	{ "kernel", "FILE",
		"What to boot: a Linux bzImage or vmlinux, an ELF file with a PVH note, or a "
		"multiboot 1 image.",
		NULL, COMPLETE_FILE, NULL, set_kernel },
	{ "initrd", "FILE",
		"The initial RAM disk. For multiboot a module, 'FILE ARGUMENTS'; can be given "
		"several times.",
		NULL, COMPLETE_FILE, NULL, set_initrd },
	{ "append", "TEXT", "The kernel's command line.", NULL, COMPLETE_NOTHING, NULL,
		set_append },
	{ "memory", "SIZE[,max=SIZE]",
		"The guest's memory: a number and K, M, G or T; MiB without. Up to max it grows "
		"and shrinks while it runs (virtio-mem): 'atoll memory'.",
		"512M", COMPLETE_NOTHING, NULL, set_memory },
	{ "pmem", "FILE[,readonly=on]",
		"A file that the guest has as persistent memory (virtio-pmem), /dev/pmem0. Can be "
		"given 4 times.",
		NULL, COMPLETE_FILE, NULL, set_pmem },
	{ "cpus", "N", "How many processors the guest has, up to 64.", "1", COMPLETE_NOTHING, NULL,
		set_cpus },
	{ "serial", "stdio|console|file:PATH|unix:PATH|none",
		"Where the serial console goes. On a terminal, Ctrl-A h lists the keys. A unix "
		"socket serves one client at a time. console is that of 'atoll console', and what "
		"'atoll start' takes.",
		"stdio", COMPLETE_WORDS, "stdio console none file: unix:", set_serial },
	{ "debug-exit", "PORT",
		"A port that ends atoll with exit code (value << 1) | 1 when the guest writes to "
		"it "
		"(isa-debug-exit).",
		NULL, COMPLETE_NOTHING, NULL, set_debug_exit },
	{ "disk", "FILE,format=raw|qcow2[,...]",
		"A disk: /dev/vda for the first. Further: bus=virtio|nvme|sata|ide|usb (virtio "
		"unless "
		"said), boot=N (1 is tried first), readonly=on, serial=TEXT, "
		"queues=N, cache=writeback|none|writethrough|directsync|unsafe, "
		"aio=auto|io_uring|threads, discard=off, on-error=enospc|stop|report|ignore (stop "
		"and "
		"enospc pause the guest until there is room), iops=N, iops-burst=N, bps=SIZE, "
		"bps-burst=SIZE (at once after a pause), transitional=on "
		"for "
		"drivers of before 2016. Can be given several times.",
		NULL, COMPLETE_FILE, NULL, set_disk },
	{ "cdrom", "FILE[,bus=sata|ide][,boot=N]",
		"An optical drive with a disc, or with 'none' an empty one; 'atoll media' changes "
		"it.",
		NULL, COMPLETE_FILE, NULL, set_cdrom },
	{ "floppy", "FILE[,readonly=on][,boot=N][,format=qcow2]",
		"A floppy drive of the board pc with a disk of 160K to 2880K, or with 'none' an "
		"empty one; 'atoll media' changes it. Can be given twice.",
		NULL, COMPLETE_FILE, NULL, set_floppy },
	{ "share", "DIRECTORY,tag=NAME[,readonly=on][,server=builtin|virtiofsd][,cache=auto|none]",
		"A directory of the host that the guest mounts (virtio-fs): mount -t virtiofs NAME "
		"/mnt. What the host changes the guest sees within a second, with cache=none at "
		"once. server=virtiofsd has that program serve it, which needs root. Can be given "
		"8 times.",
		NULL, COMPLETE_FILE, NULL, set_share },
	{ "pci", NULL,
		"A PCI bus even if no device is on it, so that devices can be added while the "
		"guest runs.",
		NULL, COMPLETE_NOTHING, NULL, set_pci },
	{ "net", "KIND[,KEY=VALUE...]",
		"A network card, and where its cable leads. user: out through the host, without "
		"root "
		"(forward=tcp:2222:22+udp:..., address=10.0.2.15, mtu=); tap: a tap interface "
		"(name=); bridge: a new tap in a bridge (name=); for these two: vhost=auto|on|off, "
		"whether the kernel carries the frames on KVM (auto: if it can); switch: an "
		"'atoll switch' (path=); none. For all: model=virtio|e1000|rtl8139, mac=, "
		"queues=N (virtio: pairs of queues), boot=N, romfile=FILE|none, "
		"rate=BYTES a second, burst=BYTES, "
		"capture=FILE.pcap. "
		"Can be given 8 times.",
		NULL, COMPLETE_WORDS, "user tap bridge switch none", set_net },
	{ "console", "attach|unix:PATH|file:PATH",
		"A second console (virtio-console), hvc0 in the guest. attach: that of 'atoll "
		"console --hvc', whose window's size the guest follows. A unix socket serves one "
		"client at a time.",
		NULL, COMPLETE_WORDS, "attach unix: file:", set_console },
	{ "port", "unix:PATH,name=NAME",
		"A line to a program in the guest: /dev/virtio-ports/NAME there, a unix socket "
		"here. "
		"Can be given several times.",
		NULL, COMPLETE_WORDS, "unix:", set_port },
	{ "agent", NULL,
		"A line to the guest's agent (virtio-serial port org.qemu.guest_agent.0), for "
		"'atoll exec' and 'atoll cp'. For VMs with a name.",
		NULL, COMPLETE_NOTHING, NULL, set_agent },
	{ "rng", NULL, "A source of random numbers (virtio-rng).", NULL, COMPLETE_NOTHING, NULL,
		set_rng },
	{ "balloon", NULL,
		"A balloon (virtio-balloon), through which the guest gives back memory that it "
		"does "
		"not use.",
		NULL, COMPLETE_NOTHING, NULL, set_balloon },
	{ "vsock", "PATH[,cid=N]",
		"Sockets between guest and host (virtio-vsock). Who connects to the unix socket "
		"PATH "
		"and writes 'CONNECT PORT' reaches the guest's port; the guest's connections to "
		"port "
		"N of CID 2 go to the unix socket PATH_N. The guest's CID is 3 unless given.",
		NULL, COMPLETE_FILE, NULL, set_vsock },
	{ "test-card", NULL,
		"A PCI card for tests of PCI itself: BARs of every kind, every kind of interrupt, "
		"and a second card that the guest plugs and unplugs.",
		NULL, COMPLETE_NOTHING, NULL, set_test_card },
	{ "display-device", "vga|virtio-gpu|none",
		"The screen: vga is a VGA with the Bochs extensions, on the PCI bus. The board pc "
		"has "
		"it unless it says none; the board micro has it without text modes. virtio-gpu is "
		"a "
		"screen for systems with its driver, without 3D.",
		NULL, COMPLETE_WORDS, "vga virtio-gpu none", run_set_display_device },
	{ "display", "none|curses|vnc[=unix:PATH|localhost:PORT]",
		"Who sees the screen: curses shows a VGA's text in this terminal; vnc serves VNC "
		"viewers, at a socket in the VM's directory or "
		"at "
		"an address of this host. Pictures and text can always be had with 'atoll "
		"screenshot'.",
		"none", COMPLETE_WORDS, "none curses vnc", run_set_display },
	{ "keyboard", "ps2|virtio|usb",
		"The keyboard: ps2 is that of a board that has one, virtio a virtio-input device, "
		"usb a USB keyboard.",
		"ps2", COMPLETE_WORDS, "ps2 virtio usb", run_set_keyboard },
	{ "tablet", "[=virtio|usb]",
		"A pointer that says where it is, a virtio-input device or a USB tablet: a "
		"viewer's pointer and the guest's stay together.",
		NULL, COMPLETE_WORDS, "virtio usb", run_set_tablet },
	{ "usb", NULL,
		"A USB 3 controller (xHCI), which also comes with what is plugged into it: "
		"--keyboard usb, --tablet=usb, --disk ...,bus=usb.",
		NULL, COMPLETE_NOTHING, NULL, run_set_usb },
	{ "com2", "file:PATH|unix:PATH", "A second serial line, at 0x2f8.", NULL, COMPLETE_WORDS,
		"file: unix:", run_set_com2 },
	{ "com3", "file:PATH|unix:PATH", "A third serial line, at 0x3e8.", NULL, COMPLETE_WORDS,
		"file: unix:", run_set_com3 },
	{ "com4", "file:PATH|unix:PATH", "A fourth serial line, at 0x2e8.", NULL, COMPLETE_WORDS,
		"file: unix:", run_set_com4 },
	{ "parallel", "file:PATH|unix:PATH",
		"A parallel port at 0x378, and where what is printed goes.", NULL, COMPLETE_WORDS,
		"file: unix:", run_set_parallel },
	{ "smbios", "KEY=VALUE,...",
		"What the machine says of itself: manufacturer, product, version, serial, uuid, "
		"sku, family, asset. A VM with a name keeps its uuid.",
		NULL, COMPLETE_NOTHING, NULL, run_set_smbios },
	{ "watchdog", "none|reset|poweroff|pause",
		"A watchdog (i6300esb), and what is done about a guest that no longer serves it.",
		NULL, COMPLETE_WORDS, WATCHDOG_ACTIONS, run_set_watchdog },
	{ "panic", "none|reset|poweroff|pause",
		"A line on which the guest says that it has crashed (pvpanic), and what is done "
		"then; 'none' only tells.",
		NULL, COMPLETE_WORDS, WATCHDOG_ACTIONS, run_set_panic },
	{ "sound", "discard|file:PATH",
		"A sound card (Intel HD Audio) with a line out, and where what is played goes: a "
		"WAV file, or nowhere.",
		NULL, COMPLETE_WORDS, "discard file:", run_set_sound },
	{ "tpm", "[=DIRECTORY]",
		"A TPM 2.0, by the program swtpm, and the directory of its state: that of a VM "
		"with a name unless it is given.",
		NULL, COMPLETE_FILE, NULL, run_set_tpm },
	{ "generation-id", NULL,
		"Tell the guest when it is not the machine that it was (VM generation ID).", NULL,
		COMPLETE_NOTHING, NULL, run_set_generation_id },
	{ "no-reboot", NULL, "A reset by the guest ends atoll instead of restarting the guest.",
		NULL, COMPLETE_NOTHING, NULL, set_no_reboot },
	{ "soft-mode", "interpret|translate|direct",
		"How the software engine executes: translate runs 64-bit code as host code, direct "
		"also runs programs that compute for long natively, in processes without "
		"privileges, interpret is slower and the reference.",
		"direct", COMPLETE_WORDS, "interpret translate direct", set_soft_mode },
	{ "time", NULL, "Print how long each stage took, as JSON on stderr.", NULL,
		COMPLETE_NOTHING, NULL, set_time },
	{ "stats", "[=json,exact]",
		"Print the engine's counters on stderr at the end; json: as one line of JSON; "
		"exact: "
		"also count each instruction of translated code, which makes it slower.",
		NULL, COMPLETE_NOTHING, NULL, set_stats },
	{ "dump-code", "FILE",
		"Write each block that the software engine translates into a file: the guest's "
		"instructions and the host's.",
		NULL, COMPLETE_FILE, NULL, set_dump_code },
	{ "trace", "CATEGORY,...[:FILE]",
		"Print a line on stderr, or into a file, for each event of these categories: "
		"exits, "
		"blocks, interrupts, faults, io, tlb, requests, guest, or all. 'help' lists the "
		"events.",
		NULL, COMPLETE_WORDS,
		"help all exits blocks interrupts faults io tlb requests guest", set_trace },
	{ "quiet", NULL, "Print warnings and errors only.", NULL, COMPLETE_NOTHING, NULL,
		set_quiet },
	{ 0 },
};

void run_options_init(struct run_options *options)
{
	*options = (struct run_options){
		.vm = {
			.engine = "auto",
			.cpu = "max",
			.soft_mode = SOFT_MODE_TRANSLATE,
			.soft_direct = true,
			.memory_bytes = 512 << 20,
			.nr_cpus = 1,
			.serial = "stdio",
			.debug_exit_port = -1,
			.started_ns = host_now(),
		},
	};
}

int run_options_check(const struct run_options *options, struct error *err)
{
	const struct vm_config *vm = &options->vm;

	if (vm->firmware && vm->board && strcmp(vm->board, "micro") == 0)
		return error_set(err, EXIT_CODE_CONFIG,
			"the board micro has no firmware; leave --firmware out, or use --board pc");
	if (vm->firmware_vars && !vm->firmware)
		return error_set(err, EXIT_CODE_CONFIG,
			"--firmware-vars is for firmware that keeps variables; add --firmware uefi "
			"or --firmware FILE");
	if (vm->firmware && vm->kernel)
		return error_set(err, EXIT_CODE_CONFIG,
			"a kernel is booted without firmware; leave --firmware or --kernel out");
	if (!vm->kernel && !vm->firmware && !vm->board && vm->nr_disks == 0 && vm->nr_cdroms == 0 &&
		vm->nr_floppies == 0)
		return error_set(err, EXIT_CODE_USAGE,
			"nothing to boot; give a kernel with --kernel FILE, a disk with --disk, a "
			"disc with --cdrom, or a floppy with --floppy");
	if (!vm->kernel && vm->board && strcmp(vm->board, "micro") == 0)
		return error_set(err, EXIT_CODE_USAGE,
			"nothing to boot; give a kernel with --kernel FILE, or use --board pc, "
			"which has firmware");
	if (vm->nr_floppies > 0 &&
		(vm->board ? strcmp(vm->board, "micro") == 0 : vm->kernel != NULL && !vm->firmware))
		return error_set(err, EXIT_CODE_CONFIG,
			"the board micro has no floppy drives; add --board pc, or leave --floppy "
			"out");
	return 0;
}

int run_options_run(struct run_options *options, struct error *err)
{
	if (options->trace && trace_start(options->trace, err))
		return err->exit_code;
	return vm_run(&options->vm, err);
}

/* A system of the catalogue: made if it is not there, started, with its console. */
static int run_system(const char *system, const struct run_options *options,
	const struct spec *given, struct error *err)
{
	const char *name = options->name ? options->name : system;
	struct bundle bundle;

	if (!catalogue_has(system, err))
		return err->exit_code;
	if (bundle_open(&bundle, name, NULL) == 0) {
		bundle_close(&bundle);
		if (given->nr_entries > 0) {
			error_set(err, EXIT_CODE_CONFIG,
				"there is a VM '%s' already, with options of its own; choose "
				"another "
				"name with --name, or edit its " BUNDLE_SPEC
				" and 'atoll start %s --attach'",
				name, name);
			return err->exit_code;
		}
	} else if (catalogue_create(system, name, given, err)) {
		return err->exit_code;
	}
	return vm_start_named(name, true);
}

int run_main(const struct command *command, int argc, char **argv)
{
	struct run_options options;
	struct error err = { 0 };
	struct spec spec = { 0 };
	int nr_operands, exit_code;
	bool help;

	run_options_init(&options);
	if (options_parse_recorded(command, argc, argv, &options, &nr_operands, &help,
		    vm_spec_record, &spec, &err))
		goto mistake;
	if (help) {
		command_print_help(stdout, command);
		exit_code = EXIT_CODE_OK;
		goto done;
	}
	if (options.trace && strcmp(options.trace, "help") == 0) {
		trace_print_table(stdout);
		exit_code = EXIT_CODE_OK;
		goto done;
	}
	if (nr_operands > 0)
		exit_code = run_system(argv[nr_operands - 1], &options, &spec, &err);
	else if (run_options_check(&options, &err))
		goto mistake;
	else
		exit_code = options.name ? vm_run_named(&options, &spec, &err)
					 : run_options_run(&options, &err);
	if (!err.exit_code)
		goto done;
mistake:
	log_error("%s", err.text);
	exit_code = err.exit_code;
done:
	spec_finish(&spec);
	return exit_code;
}
