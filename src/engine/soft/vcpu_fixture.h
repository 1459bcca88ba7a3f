/*
 * For tests: a machine with one vCPU of the software engine, without devices, in a mode of choice.
 *
 * Low memory holds what a mode needs; tests have everything from FIXTURE_CODE up.
 */
#ifndef ENGINE_SOFT_VCPU_FIXTURE_H
#define ENGINE_SOFT_VCPU_FIXTURE_H

#include "engine/soft/execute.h"
#include "engine/soft/interpret.h"

#define FIXTURE_GDT     0x1000
#define FIXTURE_IDT     0x2000  /* protected and long mode; real mode's is at 0 */
#define FIXTURE_TSS     0x3000  /* with an empty I/O bitmap */
#define FIXTURE_TABLES  0x10000 /* page tables, up to FIXTURE_STACK */
#define FIXTURE_STACK0  0x90000 /* top of the stack of rings 0 to 2, in the TSS too */
#define FIXTURE_STACK3  0x98000
#define FIXTURE_CODE    0x100000
#define FIXTURE_CODE_16 0x8000 /* real mode, at 0:8000 */
/* A write of anything here makes `interpret` return VCPU_EXIT_KICKED. */
#define FIXTURE_STOP 0xd0000000

/* Selectors in the GDT. */
#define FIXTURE_CS64      0x08
#define FIXTURE_DS        0x10
#define FIXTURE_CS32      0x18
#define FIXTURE_CS32_3    0x23
#define FIXTURE_DS_3      0x2b
#define FIXTURE_CS64_3    0x33
#define FIXTURE_CS16      0x38
#define FIXTURE_DS16      0x40
#define FIXTURE_TR        0x48 /* 16 bytes in long mode */
#define FIXTURE_SPARE     0x58 /* this and what follows, up to FIXTURE_GDT_LIMIT, are empty */
#define FIXTURE_GDT_LIMIT 0xff

enum fixture_mode {
	FIXTURE_REAL,
	FIXTURE_PROTECTED,      /* 32-bit, flat, ring 0, no paging */
	FIXTURE_PROTECTED_USER, /* ring 3 */
	FIXTURE_LONG,           /* 64-bit, ring 0, the first GiB mapped one to one for all rings */
	FIXTURE_LONG_USER,
	FIXTURE_COMPATIBILITY_USER, /* 32-bit code in long mode, ring 3 */
};

struct vcpu_fixture {
	struct machine machine;
	struct soft_engine engine;
	struct cpu_model model;
	struct vcpu *vcpu;
	uint8_t *ram; /* guest physical 0 */
	uint64_t next_table;
};

/* `mib` of RAM at 0. Asserts on failure. */
void vcpu_fixture_create(struct vcpu_fixture *fixture, unsigned mib);
void vcpu_fixture_destroy(struct vcpu_fixture *fixture);

/* Resets the registers and builds the tables of a mode; RIP is FIXTURE_CODE or FIXTURE_CODE_16.
 * Interrupts are off, CR4 has OSFXSR and OSXSAVE, XCR0 all that the model has. */
void vcpu_fixture_enter(struct vcpu_fixture *fixture, enum fixture_mode mode);

/* Copies into RAM, as a device would. */
void vcpu_fixture_load(
	struct vcpu_fixture *fixture, gpa_t address, const void *bytes, unsigned size);
#define FIXTURE_LOAD_CODE(fixture, ...)                                                            \
	vcpu_fixture_load(fixture, (fixture)->vcpu->rip, (const uint8_t[]){ __VA_ARGS__ },         \
		sizeof((const uint8_t[]){ __VA_ARGS__ }))

/* Maps a 4 KiB page in long mode, with PTE_* flags at its last level (and flushes the TLB). */
void vcpu_fixture_map(struct vcpu_fixture *fixture, gva_t linear, gpa_t physical, uint64_t flags);
/* The entry that maps `linear` at `level` (1 is a page's own), made if need be. */
uint64_t *vcpu_fixture_entry(struct vcpu_fixture *fixture, gva_t linear, unsigned level);

/* A gate in the IDT: SEG_TYPE_INT or _TRAP (or _TASK_GATE, _INT16, _TRAP16), DPL, IST in long mode.
 */
void vcpu_fixture_gate(struct vcpu_fixture *fixture, unsigned vector, uint16_t selector,
	uint64_t offset, unsigned type, unsigned dpl, unsigned ist);

/* An entry of the GDT. */
void vcpu_fixture_descriptor(struct vcpu_fixture *fixture, uint16_t selector, uint32_t base,
	uint32_t limit, uint32_t attributes);

/*
 * Steps until the next instruction is HLT, `limit` steps are done, or shutdown. True if it came to
 * a HLT.
 */
bool vcpu_fixture_run(struct vcpu_fixture *fixture, unsigned limit);

#endif
