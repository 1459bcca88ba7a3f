/*
 * One virtual machine in one process: puts memory, board, engine and boot image together, runs the
 * vCPU threads and the event loop, and ends with an exit code.
 */
#ifndef VMM_VM_H
#define VMM_VM_H

#include "base/error.h"
#include "board/board.h"
#include "bundle/bundle.h"
#include "engine/engine.h"

#define VM_MAX_INITRDS  16
#define VM_MAX_SHARES   8
#define VM_MAX_NETS     8
#define VM_MAX_DISKS    24
#define VM_MAX_CDROMS   4
#define VM_MAX_FLOPPIES 2
#define VM_MAX_PORTS    6
#define VM_MAX_PMEMS    4

struct vm_config {
	const char *engine;   /* "auto", "kvm", "soft" */
	const char *board;    /* "micro", "pc"; NULL: as firmware needs it */
	const char *chipset;  /* of the board pc; NULL: its first */
	const char *firmware; /* "bios", "uefi" or a file; NULL: "bios" if there is no kernel */
	const char *firmware_vars; /* a template of its variables; NULL: that of "uefi" */
	const char *boot;          /* what --boot was given; NULL: as firmware likes */
	const char *firmware_log;  /* a file for its debug console; NULL: none */
	const char *cpu;           /* a CPU model's name */
	enum soft_mode soft_mode;
	bool soft_direct;
	const char *kernel;
	const char *initrds[VM_MAX_INITRDS];
	unsigned nr_initrds;
	const char *append;
	uint64_t memory_bytes;
	uint64_t memory_max_bytes; /* what it can grow to; 0: it cannot */
	unsigned nr_cpus;
	const char *serial;
	const char
		*lines[BOARD_NR_LINES]; /* what --com2 to --parallel were given; NULL: not there */
	const char *smbios;             /* what --smbios was given; NULL: nothing */
	const char *watchdog, *panic;   /* the actions; NULL: no such device */
	bool generation_id;
	const char *sound;             /* what --sound was given; NULL: no card */
	const char *tpm;               /* the directory of its state; "": the VM's; NULL: no TPM */
	int debug_exit_port;           /* -1: none */
	bool pci;                      /* a PCI bus, even if nothing is on it yet */
	bool test_card;                /* pci/pci_test_card.h */
	const char *nets[VM_MAX_NETS]; /* what --net was given */
	unsigned nr_nets;
	const char *disks[VM_MAX_DISKS]; /* what --disk was given */
	unsigned nr_disks;
	const char *cdroms[VM_MAX_CDROMS]; /* what --cdrom was given */
	unsigned nr_cdroms;
	const char *floppies[VM_MAX_FLOPPIES]; /* what --floppy was given */
	unsigned nr_floppies;
	const char *console;             /* what --console was given; NULL: none */
	const char *ports[VM_MAX_PORTS]; /* what --port was given */
	unsigned nr_ports;
	const char *display_device; /* "vga", "none"; NULL: the board's */
	const char *display;        /* what --display was given; NULL: none */
	bool virtio_keyboard, tablet;
	bool usb, usb_keyboard, usb_tablet;
	bool agent; /* a port for the guest agent */
	bool rng, balloon;
	const char *vsock;                 /* NULL: none */
	const char *shares[VM_MAX_SHARES]; /* what --share was given */
	unsigned nr_shares;
	const char *pmems[VM_MAX_PMEMS]; /* what --pmem was given */
	unsigned nr_pmems;
	bool no_reboot;
	bool print_time;
	bool print_stats;
	bool stats_as_json;
	bool count_exactly;    /* engine_config's */
	const char *dump_code; /* likewise */
	ns_t started_ns;       /* CLOCK_MONOTONIC when the process began */

	/* The VM's directory, with its control socket; NULL: it has no name. */
	const struct bundle *bundle;
	/* Called once, when the guest runs; may be NULL. */
	void (*ready)(void *context);
	void *ready_context;
};

/* Runs a machine to its end. Returns the exit code; a user's mistake fills `err` as well. */
int vm_run(const struct vm_config *config, struct error *err);

#endif
