/*
 * The native comparison: instructions run on the host's processor and on the software engine from
 * the same state, and everything a program could see afterwards has to agree.
 *
 * A case is one instruction with the registers and memory it starts from; it runs at privilege
 * level 3 in a flat address space that both sides lay out alike:
 *
 *   NATIVE_CODE       a slot for each case of a batch, read and execute; it ends in UD2s, by which
 *                     a branch there shows that it was taken
 *   NATIVE_DATA       two pages to read and write, with nothing mapped on either side; three areas
 *                     of them are live: cases aim there, and their content is part of a case
 *   NATIVE_READ_ONLY  one page to read, with nothing mapped on either side
 *
 * native_case.c makes cases, native_host.c and native_engine.c run them, native_test.c compares.
 */
#ifndef ENGINE_SOFT_NATIVE_H
#define ENGINE_SOFT_NATIVE_H

#include "engine/soft/insn.h"
#include "x86/cpu_state.h"

#define NATIVE_BATCH     1024
#define NATIVE_SLOT      32 /* an instruction, what leads out of it, and at even offsets UD2 */
#define NATIVE_CODE      0x10000000
#define NATIVE_CODE_SIZE (NATIVE_BATCH * NATIVE_SLOT + 4096) /* the last page leads out */
#define NATIVE_DATA      0x20000000
#define NATIVE_DATA_SIZE 0x2000
#define NATIVE_READ_ONLY 0x20010000
#define NATIVE_GS_BASE   0x1fff8000 /* GS:8000h is NATIVE_DATA */

/* The live areas: where the data begins, where its pages meet, where it ends. */
#define NATIVE_EDGE 256
#define NATIVE_LIVE (4 * NATIVE_EDGE)

struct native_state {
	struct cpu_xsave xsave __attribute__((aligned(64))); /* if a vector case */
	uint64_t gpr[X86_NR_GPRS];
	uint64_t rip;
	uint64_t rflags;
};

#define NATIVE_NO_FAULT 0xff

struct native_result {
	struct native_state state;
	uint8_t vector; /* of the exception, or NATIVE_NO_FAULT */
	uint32_t error;
	uint64_t cr2; /* of #PF */
	uint8_t live[NATIVE_LIVE];
};

struct native_case {
	uint16_t row;
	bool vector; /* XSAVE state is loaded and compared */
	uint8_t length;
	uint8_t bytes[INSN_MAX_LENGTH];
	struct native_state state;
	uint8_t live[NATIVE_LIVE];
};

struct native_batch {
	struct native_case cases[NATIVE_BATCH];
	struct native_result host[NATIVE_BATCH], engine[NATIVE_BATCH];
	uint8_t host_data[NATIVE_DATA_SIZE]; /* after the last case */
	unsigned nr_cases;
	enum insn_mode mode; /* INSN_MODE_64, or INSN_MODE_32: compatibility mode */
};

static inline uint64_t native_slot(unsigned index)
{
	return NATIVE_CODE + (uint64_t)index * NATIVE_SLOT;
}

/* Copies between a case's live bytes and the data pages. */
void native_live_store(uint8_t *data, const uint8_t *live);
void native_live_load(uint8_t *live, const uint8_t *data);

/* native_case.c */
struct native_random {
	uint64_t state;
};
uint64_t native_random(struct native_random *random);
/* Is it an instruction that user code can run, other than a far transfer? */
bool native_is_testable(const struct isa_row *row);
/* Does it work on x87, MMX or vector state? */
bool native_is_vector(const struct isa_row *row);
/* Makes a case of the row for the slot; false if the row cannot be encoded in that mode. */
bool native_case_make(struct native_case *c, const struct isa_row *row, enum insn_mode mode,
	unsigned slot, struct native_random *random);

/* native_probe.c */
/* Does the host's kernel have a 32-bit code segment for programs? */
bool native_host_has_32_bit_code(void);
/*
 * Does the host go on with code that it interrupted while RSP was not canonical? If not, any
 * instruction may appear to raise #GP then, also within translated code. Forks at the first call:
 * before there are threads.
 */
bool native_host_returns_to_any_stack(void);
/* Has it RSP as an operand that it may write, other than by the way? */
bool native_writes_stack_pointer(const struct insn *insn);

/* native_host.c. Maps the address space; call before the others. */
void native_host_init(void);
/* Puts the batch's instructions into their slots; returns the code region's bytes. */
const uint8_t *native_host_code(const struct native_batch *batch);
/* The read-only page's content. */
const uint8_t *native_host_read_only(void);
/* Runs the batch, whose code is in place, in a child process and returns its id. The results are
 * there once it has exited with status 0; the batch lies in shared memory. */
int native_host_start(struct native_batch *batch);

/* native_engine.c */
void native_engine_init(void);
const struct cpu_model *native_engine_model(void);
/* From now on 64-bit code is translated. */
void native_engine_translate(void);
void native_engine_run(struct native_batch *batch);
/*
 * Runs the instructions of up to NATIVE_SEQUENCE cases one after the other, from the first one's
 * state, by the interpreter and twice through translated code, which holds as many at once as there
 * are. The registers that an instruction makes addresses from are set to its case's before it. Ends
 * in #UD, if nothing faults before. Returns where it ends.
 */
#define NATIVE_SEQUENCE      8
#define NATIVE_SEQUENCE_RUNS 3
uint64_t native_engine_sequence(enum insn_mode mode, const struct native_case *const *cases,
	unsigned count, struct native_result results[NATIVE_SEQUENCE_RUNS]);
const uint8_t *native_engine_data(void);
void native_engine_finish(void);

#endif
