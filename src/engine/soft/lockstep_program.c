/*
 * Makes the lockstep test's programs: lockstep.h.
 */
#include "engine/soft/lockstep.h"

#include "engine/soft/isa_assemble.h"
#include "engine/soft/vcpu_fixture.h"

#include <assert.h>
#include <string.h>

#define MAX_BLOCKS    12
#define MAX_FIXUPS    128
#define MAX_PATCHABLE 16

struct fixup {
	uint16_t at; /* of four bytes of code */
	uint8_t block;
	bool relative;
};

struct generator {
	struct lockstep_program *program;
	struct native_random *random;
	const struct cpu_model *model;
	bool vectors;
	unsigned nr_blocks, block;
	unsigned starts[MAX_BLOCKS + 1];
	bool heads[MAX_BLOCKS + 1];
	struct fixup fixups[MAX_FIXUPS];
	unsigned nr_fixups;
	uint16_t patchable[MAX_PATCHABLE]; /* immediates that a store may change */
	unsigned nr_patchable;
	uint16_t undefined;
	bool stack_known;
};

static uint64_t below(struct generator *g, uint64_t limit)
{
	return (native_random(g->random) >> 16) % limit;
}

static bool one_in(struct generator *g, unsigned n)
{
	return below(g, n) == 0;
}

static gva_t here(const struct generator *g)
{
	return LOCKSTEP_CODE + g->program->length;
}

static void put(struct generator *g, const uint8_t *bytes, unsigned length)
{
	struct lockstep_program *program = g->program;

	program->insns[program->nr_insns++] = (struct lockstep_insn){
		.at = (uint16_t)program->length,
		.undefined = g->undefined,
	};
	memcpy(program->code + program->length, bytes, length);
	program->length += length;
}

static bool is_wide(const struct generator *g)
{
	return g->program->mode == INSN_MODE_64;
}

/* Without the REX in front, where the code has none. */
static void put_without_rex(struct generator *g, const uint8_t *bytes, unsigned length)
{
	unsigned skip = is_wide(g) ? 0 : 1;

	put(g, bytes + skip, length - skip);
}

/* As DS has it. */
static uint32_t offset_of(const struct generator *g, uint32_t address)
{
	return address - g->program->data_base;
}

#define PUT_REX(g, ...)                                                                            \
	put_without_rex(                                                                           \
		g, (const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ }))
#define PUT(g, ...)                                                                                \
	put(g, (const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ }))
#define LE32(value)                                                                                \
	(uint8_t)(value), (uint8_t)((uint32_t)(value) >> 8), (uint8_t)((uint32_t)(value) >> 16),   \
		(uint8_t)((uint32_t)(value) >> 24)

static void put_move(struct generator *g, unsigned gpr, uint32_t value)
{
	PUT_REX(g, 0x40 | gpr >> 3, 0xb8 | (gpr & 7), LE32(value));
	if (gpr == X86_RSP)
		g->stack_known = true;
}

/* A move whose immediate other instructions may write to. */
static void put_patchable_move(struct generator *g, unsigned gpr, uint32_t value)
{
	put_move(g, gpr, value);
	g->patchable[g->nr_patchable++ % MAX_PATCHABLE] = (uint16_t)(g->program->length - 4);
}

/* cmp reg, imm8: all flags are defined behind it. */
static void put_compare(struct generator *g)
{
	PUT_REX(g, 0x48, 0x83, 0xf8 | (uint8_t)below(g, 8), (uint8_t)native_random(g->random));
	g->undefined = 0;
}

static uint32_t target(struct generator *g)
{
	uint32_t offset = (uint32_t)below(g, LOCKSTEP_DATA_SIZE);

	switch (below(g, 24)) {
	case 0: return LOCKSTEP_DATA + LOCKSTEP_DATA_SIZE + offset;
	case 1: return LOCKSTEP_DATA - 8 + (uint32_t)below(g, 16);
	case 2:
	case 3: return LOCKSTEP_DATA + 0x1000 - (uint32_t)below(g, 32);
	/* Beside the code, and too far from it for the longest store. */
	case 4: return LOCKSTEP_CODE - 0x800 + (uint32_t)below(g, 0x100);
	case 5:
	case 6:
	case 7: return LOCKSTEP_DATA + offset;
	default: return LOCKSTEP_DATA + (offset & ~31u);
	}
}

static unsigned some_register(struct generator *g)
{
	unsigned gpr = (unsigned)below(g, is_wide(g) ? 16 : 8);

	if (gpr == X86_RSP)
		return is_wide(g) ? X86_R10 : X86_RBX;
	return gpr;
}

static bool has_operand(const struct isa_row *row, enum isa_operand_kind kind)
{
	for (unsigned i = 0; i < ISA_MAX_OPERANDS; i++)
		if (row->operand[i].kind == kind)
			return true;
	return false;
}

static bool is_mnemonic(const struct isa_row *row, const char *prefix)
{
	return strncmp(row->mnemonic, prefix, strlen(prefix)) == 0;
}

/* System instructions that do the same each time: not XGETBV, as XINUSE may be either way. */
static bool is_repeatable_system(const struct isa_row *row)
{
	static const char *const names[] = { "pushf", "cli", "sti", "swapgs", "rdfsbase",
		"rdgsbase", "clac" };

	for (unsigned i = 0; i < ARRAY_SIZE(names); i++)
		if (is_mnemonic(row, names[i]))
			return true;
	return false;
}

static bool is_wanted(const struct generator *g, const struct isa_row *row)
{
	if (row->attributes & (ISA_BRANCH | (is_wide(g) ? ISA_NO_64 : ISA_ONLY_64)) ||
		has_operand(row, ISA_VSIB))
		return false;
	if (native_is_vector(row) && !g->vectors)
		return false;
	if (row->feature != CPU_NR_FEATURES &&
		!cpu_model_has(g->model, (enum cpu_feature)row->feature))
		return false;
	return row->attributes & ISA_USER || is_repeatable_system(row);
}

static const struct isa_row *choose_row(struct generator *g)
{
	for (;;) {
		const struct isa_row *row = &isa_rows[below(g, isa_nr_rows)];

		if (!is_wanted(g, row))
			continue;
		/* There are many vector rows. */
		if (!native_is_vector(row) || one_in(g, 2))
			return row;
	}
}

/* Moves that make the memory operand lie at `address`. */
static void put_address(struct generator *g, struct isa_form *form, uint32_t address)
{
	uint32_t index;

	form->base = INSN_NO_REGISTER;
	form->disp = (int32_t)address;
	if (one_in(g, 5))
		return;
	form->base = (uint8_t)some_register(g);
	form->disp = one_in(g, 2) ? (int8_t)native_random(g->random)
				  : (int32_t)below(g, 0x88000) - 0x80000;
	address -= (uint32_t)form->disp;
	if (one_in(g, 2)) {
		form->index = (uint8_t)some_register(g);
		form->scale = (uint8_t)below(g, 4);
		if (form->index == form->base)
			form->index = form->base == X86_RDI ? X86_RBX : X86_RDI;
		index = (uint32_t)below(g, 0x1000);
		put_move(g, form->index, index);
		address -= index << form->scale;
	}
	if (one_in(g, 4))
		put_move(g, form->base, address);
	else
		put_patchable_move(g, form->base, address);
}

static void choose_prefixes(
	struct generator *g, const struct isa_row *row, struct isa_form *form, uint32_t *address)
{
	if (row->attributes & ISA_LOCKABLE && form->memory && one_in(g, 4))
		form->prefixes[form->nr_prefixes++] = 0xf0;
	if (row->attributes & ISA_STRING && !one_in(g, 3))
		form->prefixes[form->nr_prefixes++] = one_in(g, 2) ? 0xf3 : 0xf2;
	if (one_in(g, 8)) {
		bool fs = one_in(g, 2);

		form->prefixes[form->nr_prefixes++] = fs ? 0x64 : 0x65;
		*address += g->program->data_base;
		*address -= fs ? LOCKSTEP_FS_BASE : LOCKSTEP_GS_BASE;
	}
	if (one_in(g, 12))
		form->prefixes[form->nr_prefixes++] = 0x67;
}

/* Registers that the instruction reaches memory by without naming them. */
static void put_implied(struct generator *g, const struct isa_row *row)
{
	if (row->attributes & ISA_STRING)
		put_move(g, X86_RCX, (uint32_t)below(g, 70));
	if (has_operand(row, ISA_X))
		put_patchable_move(g, X86_RSI, offset_of(g, target(g)));
	if (has_operand(row, ISA_Y) || is_mnemonic(row, "maskmov") || is_mnemonic(row, "vmaskmov"))
		put_move(g, X86_RDI, offset_of(g, target(g)));
	if (is_mnemonic(row, "leave") || is_mnemonic(row, "enter"))
		put_move(g, X86_RBP, offset_of(g, LOCKSTEP_STACK - 8 * (uint32_t)below(g, 64)));
	if (is_mnemonic(row, "xlat"))
		put_move(g, X86_RBX, offset_of(g, target(g)));
	if (is_mnemonic(row, "div") || is_mnemonic(row, "idiv"))
		put_move(g, X86_RDX, 0);
	if ((row->attributes & ISA_DEFAULT_64 || is_mnemonic(row, "pusha") ||
		    is_mnemonic(row, "popa")) &&
		(!g->stack_known || one_in(g, 16)))
		put_move(g, X86_RSP, offset_of(g, LOCKSTEP_STACK - (uint32_t)below(g, 256)));
}

static bool writes_stack_pointer(const struct insn *insn)
{
	const struct isa_row *row = insn_row(insn);

	return native_writes_stack_pointer(insn) || is_mnemonic(row, "popa") ||
	       is_mnemonic(row, "leave") || is_mnemonic(row, "enter");
}

static void note_flags(struct generator *g, const struct isa_row *row)
{
	uint16_t undefined = row->flags_undefined & RFLAGS_ARITHMETIC;

	if ((undefined == 0 || undefined == RFLAGS_AF) && !(row->attributes & ISA_STRING))
		g->undefined &= ~row->flags_written;
	g->undefined |= undefined;
}

static void put_instruction(struct generator *g)
{
	const struct isa_row *row = choose_row(g);
	uint8_t bytes[INSN_MAX_LENGTH];
	uint32_t address = offset_of(g, target(g));
	struct isa_form form;
	struct insn insn;
	unsigned length;

	/* A bit string reaches a page away. */
	if (is_mnemonic(row, "bt") && address < offset_of(g, LOCKSTEP_DATA))
		address = offset_of(g, LOCKSTEP_DATA);
	isa_form_random(row, g->program->mode, &g->random->state, &form);
	if (!isa_row_has_memory(row))
		form.memory = false;
	else if (!isa_row_has_register(row))
		form.memory = true;
	choose_prefixes(g, row, &form, &address);
	if (has_operand(row, ISA_O))
		form.imm = address;
	if (is_mnemonic(row, "enter"))
		form.imm2 &= 3;
	if (g->undefined & row->flags_read)
		put_compare(g);
	put_implied(g, row);
	if (form.memory)
		put_address(g, &form, address);
	length = isa_assemble(row, &form, bytes);
	if (!length || insn_decode(&insn, bytes, length, g->program->mode, NULL) != INSN_OK ||
		insn.length != length)
		return;
	if (native_writes_stack_pointer(&insn) && !native_host_returns_to_any_stack())
		return;
	put(g, bytes, length);
	note_flags(g, insn_row(&insn));
	if (writes_stack_pointer(&insn))
		g->stack_known = false;
}

/* `opcode` of a whole register and [base + disp]. */
static void put_access(
	struct generator *g, uint8_t opcode, unsigned reg, unsigned base, int8_t disp)
{
	uint8_t bytes[8];
	unsigned length = 0;

	bytes[length++] = (uint8_t)(0x48 | reg >> 3 << 2 | base >> 3);
	bytes[length++] = opcode;
	bytes[length++] = (uint8_t)(0x40 | (reg & 7) << 3 | (base & 7));
	if ((base & 7) == X86_RSP)
		bytes[length++] = 0x24;
	bytes[length++] = (uint8_t)disp;
	put_without_rex(g, bytes, length);
}

/* Adds a constant to the register, one way or another. */
static void put_constant_add(struct generator *g, unsigned gpr)
{
	uint8_t rex = (uint8_t)(0x48 | gpr >> 3), value = (uint8_t)(below(g, 4) * 8 - 16);

	switch (below(g, 4)) {
	case 0: PUT_REX(g, rex, 0x83, 0xc0 | (gpr & 7), value); break; /* add */
	case 1: PUT_REX(g, rex, 0x83, 0xe8 | (gpr & 7), value); break; /* sub */
	case 2:                                                        /* inc, dec */
		PUT_REX(g, rex, 0xff, (one_in(g, 2) ? 0xc0 : 0xc8) | (gpr & 7));
		g->undefined &= RFLAGS_CF;
		return;
	default: put_access(g, 0x8d, gpr, gpr, (int8_t)value); return; /* lea */
	}
	g->undefined = 0;
}

static unsigned choose_block(struct generator *g);
static void note_fixup(struct generator *g, unsigned block, bool relative);

/* Leaves in the middle, with flags that the other side may look at. */
static void put_side_exit(struct generator *g)
{
	if (g->nr_fixups > MAX_FIXUPS / 2)
		return;
	if (g->undefined)
		put_compare(g);
	PUT(g, 0x0f, 0x80 | (uint8_t)below(g, 16), LE32(0));
	note_fixup(g, choose_block(g), true);
}

static unsigned other_register(struct generator *g, unsigned than)
{
	unsigned gpr = some_register(g);

	return gpr == than ? (than == X86_RBX ? X86_RSI : X86_RBX) : gpr;
}

/* Accesses close to each other by registers that differ by constants. */
static void put_group(struct generator *g, unsigned base)
{
	static const uint8_t opcodes[] = { 0x8b, 0x89, 0x03, 0x01, 0x3b, 0x13, 0x87 };
	unsigned count = 2 + (unsigned)below(g, 8);

	while (count-- > 0) {
		unsigned reg = other_register(g, base);
		uint8_t opcode = opcodes[below(g, sizeof(opcodes))];

		switch (below(g, 10)) {
		case 0: put_constant_add(g, base); break;
		case 1: put_side_exit(g); break;
		case 2: /* mov reg, base: from here on by the other one */
			if (base == X86_RSP)
				break;
			PUT_REX(g, 0x48 | base >> 3 << 2 | reg >> 3, 0x89,
				0xc0 | (base & 7) << 3 | (reg & 7));
			base = reg;
			break;
		default:
			if (opcode == 0x13 && g->undefined) /* adc */
				put_compare(g);
			put_access(g, opcode, reg, base, (int8_t)(below(g, 16) * 8 - 32));
			if (opcode < 0x40)
				g->undefined = 0;
		}
	}
}

/* The same on the stack, with pushes and pops. */
static void put_stack_group(struct generator *g)
{
	unsigned count = 2 + (unsigned)below(g, 8);
	uint32_t top = LOCKSTEP_STACK;

	if (one_in(g, 3))
		top = (one_in(g, 2) ? LOCKSTEP_STACK & ~0xfffu : LOCKSTEP_STACK | 0xfff) + 1;
	put_move(g, X86_RSP, offset_of(g, top - (uint32_t)below(g, 64)));
	while (count-- > 0) {
		unsigned reg = some_register(g);

		switch (below(g, 6)) {
		case 0: put_group(g, X86_RSP); break;
		case 1:
		case 2:
		case 3: PUT_REX(g, 0x40 | reg >> 3, 0x50 | (reg & 7)); break;
		default: PUT_REX(g, 0x40 | reg >> 3, 0x58 | (reg & 7)); break;
		}
	}
	g->stack_known = false;
}

static void put_accesses(struct generator *g)
{
	unsigned base = some_register(g);

	if (g->program->length > LOCKSTEP_CODE_SIZE / 2)
		return;
	if (one_in(g, 3)) {
		put_stack_group(g);
		return;
	}
	put_move(g, base, offset_of(g, target(g)));
	put_group(g, base);
}

/* A store into the immediate of a move, often the next instruction. */
static void put_patch(struct generator *g)
{
	uint16_t at;

	if (!g->nr_patchable || one_in(g, 2)) {
		PUT(g, 0xc6, 0x04, 0x25, LE32(offset_of(g, (uint32_t)here(g) + 8 + 1 + is_wide(g))),
			(uint8_t)native_random(g->random));
		put_move(g, some_register(g), (uint32_t)native_random(g->random));
		return;
	}
	at = g->patchable[below(
		g, g->nr_patchable < MAX_PATCHABLE ? g->nr_patchable : MAX_PATCHABLE)];
	PUT(g, 0xc6, 0x04, 0x25, LE32(offset_of(g, LOCKSTEP_CODE + at)),
		(uint8_t)native_random(g->random));
}

static void note_fixup(struct generator *g, unsigned block, bool relative)
{
	assert(g->nr_fixups < MAX_FIXUPS);
	g->fixups[g->nr_fixups++] = (struct fixup){
		.at = (uint16_t)(g->program->length - 4),
		.block = (uint8_t)block,
		.relative = relative,
	};
}

/* A later block, or the head of a loop. */
static unsigned choose_block(struct generator *g)
{
	unsigned back = (unsigned)below(g, g->block + 1);

	if (g->heads[back] && !one_in(g, 3))
		return back;
	return g->block + 1 + (unsigned)below(g, g->nr_blocks - g->block);
}

static void put_stack(struct generator *g)
{
	put_move(g, X86_RSP, offset_of(g, LOCKSTEP_STACK - 8 * (uint32_t)below(g, 16)));
}

static void put_end(struct generator *g)
{
	unsigned gpr = some_register(g);

	if (g->undefined)
		put_compare(g);
	switch (below(g, 10)) {
	case 0: return;
	case 1: PUT(g, 0xe9, LE32(0)); break;
	case 2:
		put_stack(g);
		PUT(g, 0xe8, LE32(0));
		break;
	case 3: /* push imm32; ret */
		put_stack(g);
		PUT(g, 0x68, LE32(0));
		note_fixup(g, choose_block(g), false);
		PUT(g, 0xc3);
		return;
	case 4:
	case 5: /* mov gpr, imm32; jmp or call gpr */
		put_stack(g);
		put_move(g, gpr, 0);
		note_fixup(g, choose_block(g), false);
		PUT_REX(g, 0x40 | gpr >> 3, 0xff, (one_in(g, 2) ? 0xe0 : 0xd0) | (gpr & 7));
		return;
	default: PUT(g, 0x0f, 0x80 | (uint8_t)below(g, 16), LE32(0)); break;
	}
	note_fixup(g, choose_block(g), true);
}

/* Leaves the flags alone: mov rcx, [counter]; lea rcx, [rcx - 1]; mov [counter], rcx;
 * jrcxz 1f; jmp 2f; 1: jmp to the program's end; 2: */
static void put_head(struct generator *g)
{
	uint32_t counter = offset_of(g, LOCKSTEP_COUNTER);

	PUT_REX(g, 0x48, 0x8b, 0x0c, 0x25, LE32(counter));
	PUT_REX(g, 0x48, 0x8d, 0x49, 0xff);
	PUT_REX(g, 0x48, 0x89, 0x0c, 0x25, LE32(counter));
	PUT(g, 0xe3, 0x02);
	PUT(g, 0xeb, 0x05);
	PUT(g, 0xe9, LE32(0));
	note_fixup(g, g->nr_blocks, true);
}

static void put_block(struct generator *g)
{
	unsigned nr_insns = 1 + (unsigned)below(g, 10);

	g->starts[g->block] = g->program->length;
	g->stack_known = false;
	g->heads[g->block] = one_in(g, 2);
	if (g->heads[g->block])
		put_head(g);
	while (nr_insns-- > 0) {
		if (one_in(g, 24))
			put_patch(g);
		if (one_in(g, 8))
			put_accesses(g);
		put_instruction(g);
	}
	put_end(g);
}

static void resolve(struct generator *g)
{
	for (unsigned i = 0; i < g->nr_fixups; i++) {
		const struct fixup *fixup = &g->fixups[i];
		uint32_t value = g->starts[fixup->block];

		value += fixup->relative ? -(fixup->at + 4u) : LOCKSTEP_CODE;
		memcpy(g->program->code + fixup->at, &value, 4);
	}
}

/* Flags that matter behind an instruction before `next`. */
static uint16_t needed_behind(
	const struct lockstep_program *program, const struct insn *insn, gva_t next)
{
	const struct lockstep_insn *target = NULL, *after = lockstep_insn_at(program, next);
	const struct isa_row *row = insn_row(insn);
	bool branch = row->attributes & ISA_BRANCH;
	bool always = insn->opcode == 0xe8 || insn->opcode == 0xe9 || insn->opcode == 0xeb;
	bool goes_on = !branch || !always;

	if (branch && row->operand[0].kind == ISA_J)
		target = lockstep_insn_at(program, next + insn->imm);
	if ((goes_on && !after) || (branch && !target))
		return RFLAGS_ARITHMETIC;
	return (goes_on ? after->needed : 0) | (target ? target->needed : 0);
}

/* What flags matter before each instruction; true if that has changed. */
static bool find_needed(struct lockstep_program *program)
{
	bool changed = false;

	for (unsigned i = program->nr_insns; i-- > 0;) {
		struct lockstep_insn *at = &program->insns[i];
		uint16_t needed = at->needed;
		const struct isa_row *row;
		struct insn insn;

		insn_decode(&insn, program->code + at->at, INSN_MAX_LENGTH, program->mode, NULL);
		row = insn_row(&insn);
		at->needed = needed_behind(program, &insn, LOCKSTEP_CODE + at->at + insn.length);
		at->needed = (at->needed & ~row->flags_written) | row->flags_read;
		changed |= at->needed != needed;
	}
	return changed;
}

void lockstep_program_make(struct lockstep_program *program, const struct cpu_model *model,
	struct native_random *random)
{
	struct generator g = { .program = program, .random = random, .model = model };

	program->length = program->nr_insns = 0;
	memset(program->code, 0, sizeof(program->code));
	memset(program->insns, 0, sizeof(program->insns));
	g.vectors = one_in(&g, 2);
	g.nr_blocks = 2 + (unsigned)below(&g, MAX_BLOCKS - 2);
	for (g.block = 0; g.block < g.nr_blocks; g.block++)
		put_block(&g);
	g.starts[g.nr_blocks] = program->length;
	put_move(&g, X86_RDX, offset_of(&g, FIXTURE_STOP));
	PUT(&g, 0x88, 0x02); /* mov [rdx], al */
	PUT(&g, 0xeb, 0xfe);
	resolve(&g);
	while (find_needed(program))
		;
}

const struct lockstep_insn *lockstep_insn_at(const struct lockstep_program *program, gva_t rip)
{
	for (unsigned i = 0; i < program->nr_insns; i++)
		if (LOCKSTEP_CODE + (gva_t)program->insns[i].at == rip)
			return &program->insns[i];
	return NULL;
}
