/*
 * Makes native comparison cases from rows of the instruction table.
 *
 * Values are biased to corners, addresses to the live areas and to where pages begin and end, so
 * that one case in ten or so faults.
 */
#include "engine/soft/isa_assemble.h"
#include "engine/soft/native.h"
#include "engine/soft/native_vector.h"

#include <string.h>

#define PREFIX_BYTE_LOCK   0xf0
#define PREFIX_BYTE_REPNE  0xf2
#define PREFIX_BYTE_REP    0xf3
#define PREFIX_BYTE_GS     0x65
#define PREFIX_BYTE_ADSIZE 0x67

#define DATA_MIDDLE (NATIVE_DATA + NATIVE_DATA_SIZE / 2)
#define DATA_END    (NATIVE_DATA + NATIVE_DATA_SIZE)

/* What a case is being made of. */
struct maker {
	struct native_case *c;
	const struct isa_row *row;
	struct isa_form form;
	struct native_random *random;
	unsigned slot;
	bool gs, adsize;
};

/* xorshift64* (Vigna 2016). */
uint64_t native_random(struct native_random *random)
{
	uint64_t x = random->state;

	x ^= x >> 12;
	x ^= x << 25;
	x ^= x >> 27;
	random->state = x;
	return x * UINT64_C(0x2545f4914f6cdd1d);
}

static uint64_t below(struct maker *m, uint64_t limit)
{
	return (native_random(m->random) >> 16) % limit;
}

static bool one_in(struct maker *m, unsigned n)
{
	return below(m, n) == 0;
}

void native_live_store(uint8_t *data, const uint8_t *live)
{
	memcpy(data, live, NATIVE_EDGE);
	memcpy(data + NATIVE_DATA_SIZE / 2 - NATIVE_EDGE, live + NATIVE_EDGE, 2 * NATIVE_EDGE);
	memcpy(data + NATIVE_DATA_SIZE - NATIVE_EDGE, live + 3 * NATIVE_EDGE, NATIVE_EDGE);
}

void native_live_load(uint8_t *live, const uint8_t *data)
{
	memcpy(live, data, NATIVE_EDGE);
	memcpy(live + NATIVE_EDGE, data + NATIVE_DATA_SIZE / 2 - NATIVE_EDGE, 2 * NATIVE_EDGE);
	memcpy(live + 3 * NATIVE_EDGE, data + NATIVE_DATA_SIZE - NATIVE_EDGE, NATIVE_EDGE);
}

/* What the case's memory holds at a live address; 0 elsewhere. */
static uint64_t live_read(const struct native_case *c, uint64_t address)
{
	static __thread uint8_t data[NATIVE_DATA_SIZE];
	uint64_t value = 0;

	if (address < NATIVE_DATA || address > DATA_END - sizeof(value))
		return 0;
	native_live_store(data, c->live);
	memcpy(&value, data + (address - NATIVE_DATA), sizeof(value));
	return value;
}

static void live_write(struct native_case *c, uint64_t address, uint64_t value)
{
	static __thread uint8_t data[NATIVE_DATA_SIZE];

	if (address < NATIVE_DATA || address > DATA_END - sizeof(value))
		return;
	native_live_store(data, c->live);
	memcpy(data + (address - NATIVE_DATA), &value, sizeof(value));
	native_live_load(c->live, data);
}

static uint64_t corner(struct maker *m)
{
	uint64_t bits = native_random(m->random);
	unsigned shift = (bits >> 8) % 64;

	switch (bits & 7) {
	case 0: return bits >> 60;
	case 1: return -(bits >> 60);
	case 2: return BIT(shift);
	case 3: return BIT(shift) - 1;
	case 4: return UINT64_C(0x8000000080008080) ^ BIT(shift);
	default: return native_random(m->random);
	}
}

/* An address for an operand. */
static uint64_t target(struct maker *m)
{
	bool is_64 = m->form.mode == INSN_MODE_64;

	switch (below(m, 40)) {
	case 0: return NATIVE_DATA - 1 - below(m, 16);
	case 1:
	case 2: return DATA_END - 1 - below(m, 16);
	case 3: return DATA_END + below(m, 64);
	case 4: return NATIVE_READ_ONLY + below(m, 4096);
	case 5: return NATIVE_READ_ONLY + 4096 - 1 - below(m, 16);
	case 6: return NATIVE_CODE + below(m, NATIVE_BATCH * NATIVE_SLOT);
	case 7: return is_64 ? UINT64_C(0x800000000000) + below(m, 64) : DATA_END + 4096;
	case 8: return is_64 ? UINT64_C(0xffff900000000000) + corner(m) % BIT(40) : 0xfffff000;
	case 9:
	case 10:
	case 11: return NATIVE_DATA + below(m, NATIVE_EDGE - 64);
	case 12:
	case 13: return DATA_END - 64 - below(m, NATIVE_EDGE - 64);
	case 14:
	case 15:
	case 16:
	case 17: return DATA_MIDDLE - 1 - below(m, 32);
	case 18:
	case 19:
	case 20:
	case 21:
	case 22:
	case 23: return DATA_MIDDLE - NATIVE_EDGE + 32 * below(m, 14);
	default: return DATA_MIDDLE - NATIVE_EDGE + below(m, 2 * NATIVE_EDGE - 64);
	}
}

static void random_state(struct maker *m)
{
	struct native_case *c = m->c;
	uint64_t mask = m->form.mode == INSN_MODE_64 ? ~UINT64_C(0) : UINT32_MAX;
	uint64_t *live = (uint64_t *)c->live;

	for (unsigned i = 0; i < X86_NR_GPRS; i++)
		c->state.gpr[i] = corner(m) & mask;
	c->state.rflags = native_random(m->random) & RFLAGS_ARITHMETIC;
	if (one_in(m, 3))
		c->state.rflags |= RFLAGS_DF;
	for (unsigned i = 0; i < NATIVE_LIVE / 8; i++)
		live[i] = one_in(m, 8) ? corner(m) : native_random(m->random);
	c->state.rip = native_slot(m->slot);
}

/* Repetitive memory, so that string comparisons go on for a while. */
static void repetitive_memory(struct maker *m)
{
	memset(m->c->live, (int)m->c->state.gpr[X86_RAX], NATIVE_LIVE);
	for (unsigned i = 0; i < 8; i++)
		m->c->live[below(m, NATIVE_LIVE)] = (uint8_t)native_random(m->random);
}

static void add_prefix(struct maker *m, uint8_t prefix)
{
	m->form.prefixes[m->form.nr_prefixes++] = prefix;
}

static void choose_prefixes(struct maker *m)
{
	bool is_64 = m->form.mode == INSN_MODE_64;
	static const uint8_t segments[] = { 0x26, 0x2e, 0x36, 0x3e };

	if (m->row->attributes & ISA_LOCKABLE && m->form.memory && one_in(m, 3))
		add_prefix(m, PREFIX_BYTE_LOCK);
	if (m->row->attributes & ISA_STRING && !one_in(m, 3))
		add_prefix(m, one_in(m, 2) ? PREFIX_BYTE_REP : PREFIX_BYTE_REPNE);
	if (is_64 && one_in(m, 10)) {
		m->gs = one_in(m, 2);
		add_prefix(m, m->gs ? PREFIX_BYTE_GS : segments[below(m, 4)]);
	}
	/* In 32-bit code it would choose 16-bit ModRM forms, which the assembler does not have. */
	if ((is_64 || m->row->encoding.modrm == ISA_MODRM_ABSENT) && one_in(m, 10)) {
		m->adsize = true;
		add_prefix(m, PREFIX_BYTE_ADSIZE);
	}
}

/* Finds register values and a displacement that add up to `address`. */
static void solve_based(struct maker *m, uint64_t address)
{
	uint64_t *gpr = m->c->state.gpr;
	struct isa_form *form = &m->form;
	uint64_t factor = 1;

	form->disp = one_in(m, 3) ? 0 : (int8_t)native_random(m->random);
	if (one_in(m, 4))
		form->disp = (int32_t)native_random(m->random);
	if (form->index == form->base) {
		factor += BIT(form->scale);
		form->disp += (int32_t)((address - (uint64_t)(int64_t)form->disp) % factor);
		gpr[form->base] = (address - (uint64_t)(int64_t)form->disp) / factor;
		return;
	}
	if (form->index < INSN_NO_REGISTER)
		address -= gpr[form->index] << form->scale;
	gpr[form->base] = address - (uint64_t)(int64_t)form->disp;
}

static void solve_index_only(struct maker *m, uint64_t address)
{
	struct isa_form *form = &m->form;

	form->disp = (int32_t)below(m, BIT(24)) << 3 | (int32_t)(address & (BIT(form->scale) - 1));
	m->c->state.gpr[form->index] = (address - (uint64_t)form->disp) >> form->scale;
}

/* Chooses an addressing form for the ModRM operand and makes it come to `address`. */
static void choose_address(struct maker *m, uint64_t address)
{
	struct isa_form *form = &m->form;
	bool is_64 = m->form.mode == INSN_MODE_64;
	unsigned nr_registers = is_64 ? 16 : 8;

	if (m->gs)
		address -= NATIVE_GS_BASE;
	form->base = (uint8_t)below(m, nr_registers);
	form->index = INSN_NO_REGISTER;
	form->scale = (uint8_t)below(m, 4);
	switch (below(m, 8)) {
	case 0:
		form->base = INSN_NO_REGISTER;
		form->disp = (int32_t)address;
		return;
	case 1:
		if (is_64) {
			form->base = INSN_RIP;
			form->disp = (int32_t)address;
			return;
		}
		break;
	case 2:
	case 3:
	case 4: form->index = (uint8_t)below(m, nr_registers);
	}
	if (form->index == X86_RSP)
		form->index = X86_RBP;
	if (form->index != INSN_NO_REGISTER && one_in(m, 4)) {
		form->base = INSN_NO_REGISTER;
		solve_index_only(m, address);
	} else {
		solve_based(m, address);
	}
}

static bool is_mnemonic(const struct maker *m, const char *prefix)
{
	return strncmp(m->row->mnemonic, prefix, strlen(prefix)) == 0;
}

static bool has_operand(const struct isa_row *row, enum isa_operand_kind kind)
{
	for (unsigned i = 0; i < ISA_MAX_OPERANDS; i++) {
		if (row->operand[i].kind == kind)
			return true;
	}
	return false;
}

static bool is_near_branch(const struct isa_row *row)
{
	uint8_t opcode = row->encoding.opcode;

	if (!(row->attributes & ISA_BRANCH) || row->encoding.map > ISA_MAP_0F)
		return false;
	return has_operand(row, ISA_J) || (opcode == 0xff && has_operand(row, ISA_E)) ||
	       (row->encoding.map == ISA_MAP_1 && (opcode == 0xc2 || opcode == 0xc3));
}

bool native_is_testable(const struct isa_row *row)
{
	return row->attributes & ISA_USER || is_near_branch(row);
}

/* The length of a relative branch with its immediate, before it is assembled. */
static unsigned branch_length(struct maker *m)
{
	uint8_t bytes[INSN_MAX_LENGTH];

	return isa_assemble(m->row, &m->form, bytes);
}

/* A UD2 in the case's own slot, or seldom an address without code. */
static uint64_t branch_target(struct maker *m)
{
	uint64_t elsewhere = target(m);
	bool is_code = elsewhere - NATIVE_CODE < NATIVE_CODE_SIZE;

	if (!is_code && one_in(m, 10))
		return elsewhere;
	return native_slot(m->slot) + 24 + 2 * below(m, 4);
}

/* `address` is that of the ModRM operand if it is memory. */
static void choose_branch(struct maker *m, uint64_t address)
{
	uint64_t *gpr = m->c->state.gpr;
	uint64_t to = branch_target(m);

	gpr[X86_RSP] = target(m);
	if (has_operand(m->row, ISA_J)) {
		uint64_t from = native_slot(m->slot) + branch_length(m);

		if (m->row->immediate[0] == ISA_SIZE_BS ||
			(int32_t)(to - from) != (int64_t)(to - from))
			to = native_slot(m->slot) + 24 + 2 * below(m, 4);
		m->form.imm = to - from;
		if (one_in(m, 2))
			gpr[X86_RCX] = below(m, 3);
	} else if (!has_operand(m->row, ISA_E)) {
		live_write(m->c, gpr[X86_RSP], to);
	} else if (m->form.memory) {
		live_write(m->c, address, to);
	} else {
		gpr[m->form.rm] = to;
	}
}

/* Operands that are not in ModRM. */
static void choose_implied(struct maker *m)
{
	uint64_t *gpr = m->c->state.gpr;
	uint64_t segment_base = m->gs ? NATIVE_GS_BASE : 0;

	if (has_operand(m->row, ISA_X))
		gpr[X86_RSI] = target(m) - segment_base;
	if (has_operand(m->row, ISA_Y))
		gpr[X86_RDI] = target(m);
	if (has_operand(m->row, ISA_O))
		m->form.imm = target(m) - segment_base;
	if (m->row->attributes & ISA_STRING) {
		gpr[X86_RCX] = one_in(m, 8) ? below(m, 5000) : below(m, 24);
		if (m->adsize && m->form.mode == INSN_MODE_64)
			gpr[X86_RCX] |= native_random(m->random) << 32;
		if (one_in(m, 2))
			repetitive_memory(m);
	}
	if (is_mnemonic(m, "xlat"))
		gpr[X86_RBX] = target(m) - segment_base - (uint8_t)gpr[X86_RAX];
	if (m->row->attributes & ISA_DEFAULT_64 || is_mnemonic(m, "pusha") ||
		is_mnemonic(m, "popa"))
		gpr[X86_RSP] = target(m);
	if (is_mnemonic(m, "maskmov") || is_mnemonic(m, "vmaskmovdqu"))
		gpr[X86_RDI] = target(m) - segment_base;
	if (is_mnemonic(m, "leave") || is_mnemonic(m, "enter"))
		gpr[X86_RBP] = target(m);
	if (is_mnemonic(m, "enter")) {
		m->form.imm = one_in(m, 2) ? below(m, 256) : (uint16_t)native_random(m->random);
		m->form.imm2 =
			one_in(m, 4) ? (uint8_t)native_random(m->random) : (uint8_t)below(m, 5);
	}
	if ((is_mnemonic(m, "div") || is_mnemonic(m, "idiv")) && !one_in(m, 3))
		gpr[X86_RDX] = one_in(m, 2) ? 0 : (uint64_t)((int64_t)gpr[X86_RAX] >> 63);
	if (is_mnemonic(m, "aam") && one_in(m, 8))
		m->form.imm = 0;
}

/* For CMPXCHG and its kin: half of the comparisons succeed. */
static void choose_comparison(struct maker *m, uint64_t address)
{
	uint64_t *gpr = m->c->state.gpr;

	if (!is_mnemonic(m, "cmpxchg") || one_in(m, 2))
		return;
	if (!m->form.memory) {
		gpr[X86_RAX] = gpr[m->form.rm & 15];
		return;
	}
	gpr[X86_RAX] = live_read(m->c, address);
	gpr[X86_RDX] =
		is_mnemonic(m, "cmpxchg8b") ? gpr[X86_RAX] >> 32 : live_read(m->c, address + 8);
}

/* A bit offset in a register moves the operand by up to a few hundred bytes. */
static uint64_t choose_bit_offset(struct maker *m, uint64_t address)
{
	int64_t bit = (int64_t)below(m, 4096) - 2048;
	uint64_t bytes = m->form.operand_bytes;

	m->c->state.gpr[m->form.reg & 15] = (uint64_t)bit;
	return address - ((uint64_t)(bit >> 3) & -bytes);
}

static void vector_state(struct maker *m)
{
	uint64_t *live = (uint64_t *)m->c->live;

	native_vector_state(&m->c->state.xsave, m->random);
	if (one_in(m, 4))
		return;
	for (unsigned i = 0; i < NATIVE_LIVE / 8; i++)
		live[i] = native_vector_value(m->random);
}

/* An index of a gather: within the live bytes in the middle, but for one in fifty. */
static uint64_t gather_index(struct maker *m)
{
	return one_in(m, 50) ? native_random(m->random)
			     : below(m, 2 * NATIVE_EDGE - 8) >> m->form.scale;
}

static void choose_gather(struct maker *m)
{
	struct cpu_xsave *xsave = &m->c->state.xsave;
	unsigned nr_registers = m->form.mode == INSN_MODE_64 ? 16 : 8;
	uint64_t base = m->gs ? NATIVE_GS_BASE : 0, halves[4];

	m->form.base = (uint8_t)below(m, nr_registers);
	m->form.index = (uint8_t)below(m, nr_registers);
	m->form.disp = (int8_t)native_random(m->random);
	m->c->state.gpr[m->form.base] =
		DATA_MIDDLE - NATIVE_EDGE - base - (uint64_t)(int64_t)m->form.disp;
	for (unsigned i = 0; i < ARRAY_SIZE(halves); i++) {
		halves[i] = gather_index(m);
		if (!(m->row->encoding.opcode & 1))
			halves[i] = (uint32_t)halves[i] | gather_index(m) << 32;
	}
	memcpy(xsave->xmm[m->form.index], halves, 16);
	memcpy(xsave->ymm_high[m->form.index], halves + 2, 16);
}

static bool assemble(struct maker *m)
{
	struct native_case *c = m->c;
	int32_t disp = m->form.disp;
	struct insn insn;

	c->length = (uint8_t)isa_assemble(m->row, &m->form, c->bytes);
	if (!c->length)
		return false;
	if (m->form.memory && m->form.base == INSN_RIP) {
		m->form.disp =
			(int32_t)((uint32_t)disp - (uint32_t)(native_slot(m->slot) + c->length));
		c->length = (uint8_t)isa_assemble(m->row, &m->form, c->bytes);
	}
	if (insn_decode(&insn, c->bytes, c->length, m->form.mode, NULL) != INSN_OK ||
		insn.length != c->length)
		return false;
	if (native_writes_stack_pointer(&insn) && !native_host_returns_to_any_stack())
		return false;
	c->row = insn.row;
	return true;
}

bool native_is_vector(const struct isa_row *row)
{
	return row->attributes & (ISA_X87 | ISA_VECTOR | ISA_MMX) ||
	       strcmp(row->mnemonic, "fwait") == 0;
}

/* 0F 0D with a register is a NOP to Intel's processors and #UD to AMD's. */
static bool is_vendor_specific(const struct maker *m)
{
	return m->row->encoding.map == ISA_MAP_0F && m->row->encoding.opcode == 0x0d &&
	       !m->form.memory;
}

bool native_case_make(struct native_case *c, const struct isa_row *row, enum insn_mode mode,
	unsigned slot, struct native_random *random)
{
	struct maker m = { .c = c, .row = row, .random = random, .slot = slot };
	uint64_t address;

	c->vector = native_is_vector(row);
	isa_form_random(row, mode, &random->state, &m.form);
	if (!isa_row_has_memory(row))
		m.form.memory = false;
	else if (!isa_row_has_register(row))
		m.form.memory = true;
	if (is_vendor_specific(&m))
		return false;
	random_state(&m);
	if (c->vector)
		vector_state(&m);
	choose_prefixes(&m);
	choose_implied(&m);
	address = target(&m);
	if (is_near_branch(row))
		choose_branch(&m, address);
	if (has_operand(row, ISA_VSIB)) {
		choose_gather(&m);
	} else if (m.form.memory) {
		uint64_t operand = address;

		if (is_mnemonic(&m, "bt") && row->reg_kind == ISA_G)
			operand = choose_bit_offset(&m, address);
		choose_comparison(&m, address);
		choose_address(&m, operand);
	} else {
		choose_comparison(&m, address);
	}
	if (!native_host_returns_to_any_stack())
		c->state.gpr[X86_RSP] &= BITS(46, 0);
	return assemble(&m);
}
