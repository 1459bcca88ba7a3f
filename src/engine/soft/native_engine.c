/*
 * Runs native comparison cases on the software engine: one vCPU at privilege level 3, whose paging
 * lays the address space out as the host's child process has it.
 */
#include "engine/soft/native.h"
#include "engine/soft/vcpu_fixture.h"
#include "engine/soft/vector.h"

#include <stdlib.h>
#include <string.h>

/* Guest physical memory. */
#define CODE      0x100000
#define DATA      0x140000
#define READ_ONLY 0x150000

#define PTE_USER (PTE_P | PTE_U)

/* A repeated string instruction goes on where a call left it, a branch goes elsewhere. */
#define MAX_CALLS 100

static struct vcpu_fixture native_fixture;
static bool translates;

static void map_pages(uint64_t linear, gpa_t physical, uint64_t size, uint64_t flags)
{
	for (uint64_t offset = 0; offset < size; offset += 4096)
		vcpu_fixture_map(&native_fixture, linear + offset, physical + offset, flags);
}

static void enter(enum insn_mode mode)
{
	struct vcpu_fixture *fixture = &native_fixture;

	vcpu_fixture_enter(
		fixture, mode == INSN_MODE_64 ? FIXTURE_LONG_USER : FIXTURE_COMPATIBILITY_USER);
	memset(vcpu_fixture_entry(fixture, 0, 3), 0, 4 * sizeof(uint64_t));
	map_pages(NATIVE_CODE, CODE, NATIVE_CODE_SIZE, PTE_USER);
	map_pages(NATIVE_DATA, DATA, NATIVE_DATA_SIZE, PTE_USER | PTE_W | PTE_NX);
	map_pages(NATIVE_READ_ONLY, READ_ONLY, 4096, PTE_USER | PTE_NX);
	fixture->vcpu->segment[X86_GS].base = NATIVE_GS_BASE;
	vcpu_update_mode(fixture->vcpu);
}

void native_engine_init(void)
{
	vcpu_fixture_create(&native_fixture, 4);
	memcpy(native_fixture.ram + READ_ONLY, native_host_read_only(), 4096);
}

const struct cpu_model *native_engine_model(void)
{
	return &native_fixture.model;
}

static void run_case(
	struct vcpu *vcpu, const struct native_case *c, uint8_t *data, struct native_result *result)
{
	uint64_t end = c->state.rip + c->length;
	int vector, calls = 0;

	native_live_store(data, c->live);
	memcpy(vcpu->gpr, c->state.gpr, sizeof(vcpu->gpr));
	vcpu->rip = c->state.rip;
	vcpu_set_rflags(vcpu, c->state.rflags | RFLAGS_ONE | RFLAGS_IF);
	if (c->vector)
		vector_set(vcpu, &c->state.xsave);
	do {
		vector = translates ? translate_try(vcpu, 1) : interpret_try(vcpu);
	} while (vector < 0 && vcpu->rip != end && calls++ < MAX_CALLS);
	vector_leave(vcpu);
	if (c->vector)
		vector_get(vcpu, &result->state.xsave);
	memcpy(result->state.gpr, vcpu->gpr, sizeof(vcpu->gpr));
	result->state.rip = vcpu->rip;
	result->state.rflags = vcpu_rflags(vcpu);
	result->vector = vector < 0 ? NATIVE_NO_FAULT : (uint8_t)vector;
	result->error = vector >= 0 && vcpu->fault_has_error ? vcpu->fault_error : 0;
	result->cr2 = vector == X86_PF ? vcpu->cr2 : 0;
	native_live_load(result->live, data);
}

void native_engine_translate(void)
{
	struct error err = { 0 };

	native_fixture.engine.mode = SOFT_MODE_TRANSLATE;
	native_fixture.vcpu->timer_deadline_tsc = UINT64_MAX;
	if (translate_create(&native_fixture.engine, 0, &err))
		abort();
	translates = true;
}

void native_engine_run(struct native_batch *batch)
{
	uint8_t *data = native_fixture.ram + DATA;

	enter(batch->mode);
	vcpu_fixture_load(&native_fixture, CODE, native_host_code(batch), NATIVE_CODE_SIZE);
	memset(data, 0, NATIVE_DATA_SIZE);
	for (unsigned i = 0; i < batch->nr_cases; i++)
		run_case(native_fixture.vcpu, &batch->cases[i], data, &batch->engine[i]);
}

#define LOAD_BYTES   10
#define MAX_SEQUENCE (NATIVE_SEQUENCE * (INSN_MAX_LENGTH + 5 * LOAD_BYTES) + 2)

/* MOV of the case's value to the register. */
static unsigned load_register(
	uint8_t *code, enum insn_mode mode, const struct native_case *c, unsigned gpr)
{
	if (gpr >= X86_NR_GPRS)
		return 0;
	if (mode != INSN_MODE_64) {
		code[0] = 0xb8 | gpr;
		memcpy(code + 1, &c->state.gpr[gpr], 4);
		return 5;
	}
	code[0] = gpr & 8 ? 0x49 : 0x48;
	code[1] = 0xb8 | (gpr & 7);
	memcpy(code + 2, &c->state.gpr[gpr], 8);
	return LOAD_BYTES;
}

static unsigned put_instruction(uint8_t *code, enum insn_mode mode, const struct native_case *c)
{
	const struct isa_row *row = &isa_rows[c->row];
	struct insn insn;
	unsigned size = 0;

	/* What DIV leaves in the flags is anybody's. */
	if (row->flags_undefined == RFLAGS_ARITHMETIC)
		return 0;
	if (insn_decode(&insn, c->bytes, c->length, mode, &native_fixture.vcpu->features) !=
			INSN_OK ||
		(insn.has_memory && insn.base == INSN_RIP) || row->attributes & ISA_BRANCH)
		return 0;
	if (insn.has_memory) {
		size += load_register(code, mode, c, insn.base);
		size += load_register(code + size, mode, c, insn.index);
	}
	if (row->attributes & ISA_DEFAULT_64)
		size += load_register(code + size, mode, c, X86_RSP);
	if (row->attributes & ISA_STRING) {
		size += load_register(code + size, mode, c, X86_RSI);
		size += load_register(code + size, mode, c, X86_RDI);
		size += load_register(code + size, mode, c, X86_RCX);
	}
	memcpy(code + size, c->bytes, c->length);
	return size + c->length;
}

static void run_sequence(const struct native_case *first, bool translate, uint64_t start,
	struct native_result *result)
{
	struct vcpu *vcpu = native_fixture.vcpu;
	uint8_t *data = native_fixture.ram + DATA;
	int vector, calls = 0;

	memset(data, 0, NATIVE_DATA_SIZE);
	native_live_store(data, first->live);
	memcpy(vcpu->gpr, first->state.gpr, sizeof(vcpu->gpr));
	vcpu->rip = start;
	vcpu_set_rflags(vcpu, first->state.rflags | RFLAGS_ONE | RFLAGS_IF);
	vector_set(vcpu, &first->state.xsave);
	do {
		vector = translate ? translate_try(vcpu, 64) : interpret_try(vcpu);
	} while (vector < 0 && calls++ < NATIVE_SEQUENCE * MAX_CALLS);
	vector_leave(vcpu);
	vector_get(vcpu, &result->state.xsave);
	memcpy(result->state.gpr, vcpu->gpr, sizeof(vcpu->gpr));
	result->state.rip = vcpu->rip;
	result->state.rflags = vcpu_rflags(vcpu);
	result->vector = vector < 0 ? NATIVE_NO_FAULT : (uint8_t)vector;
	native_live_load(result->live, data);
}

uint64_t native_engine_sequence(enum insn_mode mode, const struct native_case *const *cases,
	unsigned count, struct native_result results[NATIVE_SEQUENCE_RUNS])
{
	uint8_t code[MAX_SEQUENCE];
	unsigned size = 0;

	for (unsigned i = 0; i < count; i++)
		size += put_instruction(code + size, mode, cases[i]);
	code[size] = 0x0f; /* ud2 */
	code[size + 1] = 0x0b;
	enter(mode);
	vcpu_fixture_load(&native_fixture, CODE, code, size + 2);
	for (unsigned i = 0; i < NATIVE_SEQUENCE_RUNS; i++)
		run_sequence(cases[0], i > 0, NATIVE_CODE, &results[i]);
	return NATIVE_CODE + size;
}

const uint8_t *native_engine_data(void)
{
	return native_fixture.ram + DATA;
}

void native_engine_finish(void)
{
	translate_destroy(&native_fixture.engine);
	vcpu_fixture_destroy(&native_fixture);
}
