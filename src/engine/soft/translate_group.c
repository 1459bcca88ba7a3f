/*
 * Which accesses of a translation share a check.
 *
 * Registers are followed through the translation as a root, a value that is not known, plus a
 * constant: moves, PUSH, POP, ADD, SUB, INC, DEC and LEA of constants keep the root. Accesses whose
 * addresses differ by a constant form a group if they lie close together. The first of them checks
 * that the whole span is in one page, and keeps its host address for the others in R10 and in
 * translate_context.pointers. If the check fails, translated code goes on in a translation of what
 * follows that checks each access by itself, so nothing is found out early.
 *
 * A kept address lives as long as the vCPU's TLB is not flushed: not beyond an instruction of the
 * interpreter's. Another vCPU may take a write entry away meanwhile, as it may between any check
 * and its store.
 */
#include "engine/soft/translator.h"

/* Of a group, in bytes: the longer, the more often it lies across a page's end. */
#define MAX_SPAN 256
/* Constants that addresses are followed through stay below this. */
#define MAX_OFFSET (1 << 24)

/* A register: root + offset. */
struct value {
	uint32_t root;
	int32_t offset;
};

/* What addresses of a root have in common; `base` is a page's address if it is constant. */
struct address_root {
	uint64_t base;
	uint32_t index, segment;
	uint8_t scale;
	bool constant;
	uint8_t last; /* access in the list of this root */
};

#define MAX_ROOTS (2 * BLOCK_MAX_INSNS)

/* Roots that are what registers hold as the translation is entered, and what follows them. */
enum { ROOT_NONE, ROOT_FS, ROOT_GPR, ROOT_GS = ROOT_GPR + X86_NR_GPRS };

struct follower {
	struct work *work;
	struct value gpr[X86_NR_GPRS];
	uint32_t gs_base;
	uint32_t next_root;
	struct address_root roots[MAX_ROOTS];
	unsigned nr_roots, first_root; /* those before are of before a barrier */
};

static void forget_gpr(struct follower *follower, unsigned gpr)
{
	follower->gpr[gpr] = (struct value){ .root = follower->next_root++ };
}

static void forget_all(struct follower *follower)
{
	for (unsigned gpr = 0; gpr < X86_NR_GPRS; gpr++)
		forget_gpr(follower, gpr);
	follower->gs_base = follower->next_root++;
	follower->first_root = follower->nr_roots;
}

static void set_gpr(struct follower *follower, unsigned gpr, struct value from, int64_t add)
{
	int64_t offset = from.offset + add;

	if (offset > MAX_OFFSET || offset < -MAX_OFFSET)
		forget_gpr(follower, gpr);
	else
		follower->gpr[gpr] = (struct value){ from.root, (int32_t)offset };
}

static uint32_t gpr_bit(unsigned gpr, bool byte)
{
	if (byte && gpr >= INSN_HIGH_BYTE)
		gpr -= INSN_HIGH_BYTE;
	return gpr < X86_NR_GPRS ? 1u << gpr : 0;
}

uint32_t translate_gprs_written(const struct insn *insn)
{
	const struct isa_row *row = insn_row(insn);
	uint32_t written = 0;

	for (unsigned i = 0; i < ISA_MAX_OPERANDS && row->operand[i].kind != ISA_NONE; i++) {
		if (!(row->operand[i].access & ISA_WRITE))
			continue;
		switch (row->operand[i].kind) {
		case ISA_G:
		case ISA_Z: written |= gpr_bit(insn->reg, row->reg_byte); break;
		case ISA_B: written |= gpr_bit(insn->vvvv, false); break;
		case ISA_E:
		case ISA_R:
			if (!insn->has_memory)
				written |= gpr_bit(insn->rm, row->rm_byte);
			break;
		case ISA_GPR: written |= gpr_bit(row->operand[i].reg, true); break;
		default: break;
		}
	}
	return written;
}

/* Of operands that addresses are made of whole: 64-bit ones, elsewhere 32-bit ones. */
static bool is_word(const struct follower *follower, const struct insn *insn)
{
	return insn->operand_bytes == mode_word(follower->work->mode);
}

/* The immediate of 4 bytes is not sign-extended by the decoder. */
static int64_t follow_signed(const struct insn *insn)
{
	return (int64_t)sign_extend(insn->imm, insn->operand_bytes);
}

/* What ADD, SUB, INC and DEC of a register add to it; 0 for everything else. */
static int64_t constant_added(const struct follower *follower, const struct insn *insn)
{
	unsigned group = insn->modrm >> 3 & 7;

	if (insn_row(insn)->encoding.map != ISA_MAP_1 || insn->has_memory ||
		!is_word(follower, insn))
		return 0;
	if ((insn->opcode & 0xf0) == 0x40)
		return insn->opcode & 8 ? -1 : 1;
	if ((insn->opcode == 0x81 || insn->opcode == 0x83) && (group == 0 || group == 5)) {
		int64_t added = follow_signed(insn);

		if (added > MAX_OFFSET || added < -MAX_OFFSET)
			return 0;
		return group == 0 ? added : -added;
	}
	if (insn->opcode == 0xff && group < 2)
		return group == 0 ? 1 : -1;
	return 0;
}

static bool is_move(const struct follower *follower, const struct insn *insn)
{
	return insn_row(insn)->encoding.map == ISA_MAP_1 &&
	       (insn->opcode == 0x89 || insn->opcode == 0x8b) && !insn->has_memory &&
	       is_word(follower, insn);
}

static bool is_constant_lea(const struct follower *follower, const struct insn *insn)
{
	return is_word(follower, insn) && insn->address_bytes == insn->operand_bytes &&
	       insn->base < X86_NR_GPRS && insn->index == INSN_NO_REGISTER;
}

static void follow_plain(struct follower *follower, const struct insn *insn)
{
	uint32_t written = translate_gprs_written(insn);
	int64_t added = constant_added(follower, insn);

	if (added) {
		unsigned gpr = (insn->opcode & 0xf0) == 0x40 ? insn->reg : insn->rm;

		set_gpr(follower, gpr, follower->gpr[gpr], added);
		return;
	}
	if (is_move(follower, insn)) {
		bool to_rm = insn->opcode == 0x89;

		set_gpr(follower, to_rm ? insn->rm : insn->reg,
			follower->gpr[to_rm ? insn->reg : insn->rm], 0);
		return;
	}
	for (unsigned gpr = 0; written; gpr++, written >>= 1)
		if (written & 1)
			forget_gpr(follower, gpr);
}

static void move_stack(struct follower *follower, int64_t bytes)
{
	if (follower->work->mode->stack_bytes == 2)
		forget_gpr(follower, X86_RSP);
	else
		set_gpr(follower, X86_RSP, follower->gpr[X86_RSP], bytes);
}

/* The registers behind the instruction. */
static void follow(struct follower *follower, const struct insn *insn, enum translate_kind kind)
{
	switch (kind) {
	case KIND_NOP:
	case KIND_BIT_STRING:
	case KIND_JCC:
	case KIND_JCC_BACK:
	case KIND_JMP:
	case KIND_CLI:
	case KIND_STI:
	case KIND_CLD:
	case KIND_STD: return;
	case KIND_RDTSC:
	case KIND_RDTSCP:
		forget_gpr(follower, X86_RAX);
		forget_gpr(follower, X86_RDX);
		forget_gpr(follower, X86_RCX);
		return;
	case KIND_MOV_FROM_SEGMENT:
	case KIND_MOV_FROM_CR:
	case KIND_READ_BASE:
		if (!insn->has_memory)
			forget_gpr(follower, insn->rm);
		return;
	case KIND_MOFFS:
		if (insn_row(insn)->operand[0].kind != ISA_O)
			forget_gpr(follower, X86_RAX);
		return;
	case KIND_POPF: move_stack(follower, insn->operand_bytes); return;
	case KIND_PLAIN: follow_plain(follower, insn); return;
	case KIND_LEA:
		if (is_constant_lea(follower, insn))
			set_gpr(follower, insn->reg, follower->gpr[insn->base], insn->disp);
		else
			forget_gpr(follower, insn->reg);
		return;
	case KIND_PUSHF:
	case KIND_PUSH_REGISTER:
	case KIND_PUSH_IMMEDIATE:
	case KIND_PUSH_SEGMENT:
	case KIND_PUSH_OPERAND: move_stack(follower, -(int64_t)insn->operand_bytes); return;
	case KIND_POP_REGISTER:
		move_stack(follower, insn->operand_bytes);
		forget_gpr(follower, insn->reg);
		return;
	case KIND_LEAVE:
		if (is_word(follower, insn) && follower->work->mode->stack_bytes != 2)
			set_gpr(follower, X86_RSP, follower->gpr[X86_RBP], insn->operand_bytes);
		else
			forget_gpr(follower, X86_RSP);
		forget_gpr(follower, X86_RBP);
		return;
	default: forget_all(follower);
	}
}

static bool same_root(const struct address_root *a, const struct address_root *b)
{
	return a->base == b->base && a->index == b->index && a->segment == b->segment &&
	       a->scale == b->scale && a->constant == b->constant;
}

/* Puts the access into the list of its root. */
static void add_access(struct follower *follower, unsigned n, const struct address_root *root,
	int64_t offset, unsigned size, bool write)
{
	struct work *work = follower->work;
	unsigned i = follower->first_root;

	work->accesses[n] = (struct access){
		.from = (int32_t)offset,
		.to = (int32_t)(offset + size),
		.next = NO_ACCESS,
		.group = NO_GROUP,
		.write = write,
	};
	if (offset > MAX_OFFSET || offset < -MAX_OFFSET)
		return;
	while (i < follower->nr_roots && !same_root(&follower->roots[i], root))
		i++;
	if (i == MAX_ROOTS)
		return;
	if (i == follower->nr_roots)
		follower->roots[follower->nr_roots++] = *root;
	else
		work->accesses[follower->roots[i].last].next = (uint8_t)n;
	follower->roots[i].last = (uint8_t)n;
}

/* Of what a segment adds to an address; 0: nothing. */
static uint32_t segment_root(const struct follower *follower, unsigned segment)
{
	const struct code_mode *mode = follower->work->mode;

	if (!mode_is_wide(mode))
		return field_get(SEGMENT_KIND, mode->segments[segment]) == SEGMENT_FLAT
			       ? 0
			       : UINT32_MAX - segment;
	if (segment == X86_GS)
		return follower->gs_base;
	return segment == X86_FS;
}

static void add_stack_access(struct follower *follower, unsigned n, unsigned gpr, int64_t disp,
	unsigned size, bool write)
{
	struct address_root root = {
		.base = follower->gpr[gpr].root,
		.segment = segment_root(follower, X86_SS),
	};

	/* What wraps at 64 KiB is no constant away. */
	if (follower->work->mode->stack_bytes != 2)
		add_access(follower, ACCESS_STACK(n), &root, follower->gpr[gpr].offset + disp, size,
			write);
}

/* The vCPU is about to enter the translation. */
static bool root_value(const struct follower *follower, uint32_t root, uint64_t *value)
{
	const struct vcpu *vcpu = follower->work->translator->vcpu;

	if (root == ROOT_NONE)
		*value = 0;
	else if (root == ROOT_GS)
		*value = vcpu->segment[X86_GS].base;
	else if (root >= ROOT_GPR && root < ROOT_GPR + X86_NR_GPRS)
		*value = vcpu->gpr[root - ROOT_GPR];
	else
		return false;
	return true;
}

/* Where it is now tells where it will be: a pointer to the stack, say, or to what a kernel has in
 * its image, does not come to point to what was allocated. */
static bool lies_beside(
	const struct follower *follower, const struct address_root *root, int64_t offset)
{
	const struct mmu_window *window = &follower->work->translator->vcpu->tlb.window;
	uint64_t base, index, segment;

	if (window->size == 0 || !root_value(follower, (uint32_t)root->base, &base) ||
		!root_value(follower, root->index, &index) ||
		!root_value(follower, root->segment, &segment))
		return false;
	return base + (index << root->scale) + segment + (uint64_t)offset - window->from >=
	       window->size;
}

static void add_constant_access(
	struct follower *follower, unsigned n, gva_t address, unsigned size, bool write)
{
	unsigned offset = address & (GUEST_PAGE_SIZE - 1);
	struct address_root root = { .base = address - offset, .constant = true };

	if (offset + size <= GUEST_PAGE_SIZE)
		add_access(follower, ACCESS_OPERAND(n), &root, offset, size, write);
}

static void add_operand_access(
	struct follower *follower, unsigned n, const struct insn *insn, unsigned size, bool write)
{
	struct address_root root = {
		.scale = insn->scale,
		.segment = segment_root(follower, insn->segment),
	};
	int64_t offset = insn->disp;

	if (insn->address_bytes != mode_word(follower->work->mode))
		return;
	if (!root.segment && translate_is_constant(insn)) {
		add_constant_access(follower, n,
			translate_constant(insn, follower->work->at[n] + insn->length), size,
			write);
		return;
	}
	if (insn->base == INSN_RIP)
		return;
	if (insn->base < X86_NR_GPRS) {
		root.base = follower->gpr[insn->base].root;
		offset += follower->gpr[insn->base].offset;
	}
	if (insn->index < X86_NR_GPRS) {
		root.index = follower->gpr[insn->index].root;
		offset += (int64_t)follower->gpr[insn->index].offset << insn->scale;
	}
	add_access(follower, ACCESS_OPERAND(n), &root, offset, size, write);
	follower->work->accesses[ACCESS_OPERAND(n)].beside = lies_beside(follower, &root, offset);
}

static void add_accesses(
	struct follower *follower, unsigned n, const struct insn *insn, enum translate_kind kind)
{
	bool write = insn_row(insn)->memory & ISA_MEM_WRITE;
	unsigned size = insn->operand_bytes;

	switch (kind) {
	case KIND_PLAIN:
		if (insn->has_memory)
			add_operand_access(follower, n, insn, insn->memory_bytes, write);
		return;
	case KIND_PUSHF:
	case KIND_PUSH_REGISTER:
	case KIND_PUSH_IMMEDIATE:
	case KIND_PUSH_OPERAND:
	case KIND_PUSH_SEGMENT:
	case KIND_CALL:
	case KIND_CALL_OPERAND:
		if (insn->has_memory)
			add_operand_access(follower, n, insn, size, false);
		add_stack_access(follower, n, X86_RSP, -(int64_t)size, size, true);
		return;
	case KIND_JMP_OPERAND:
		if (insn->has_memory)
			add_operand_access(follower, n, insn, size, false);
		return;
	case KIND_POP_REGISTER:
	case KIND_POPF:
	case KIND_RET: add_stack_access(follower, n, X86_RSP, 0, size, false); return;
	case KIND_LEAVE: add_stack_access(follower, n, X86_RBP, 0, size, false); return;
	default: return;
	}
}

/* Will this root be written to for sure, once the access at `n` is done? */
static bool written_soon(const struct work *work, unsigned n)
{
	const struct access *lead = &work->accesses[n];
	unsigned insn = ACCESS_INSN(n);

	for (unsigned m = lead->next; m != NO_ACCESS; m = work->accesses[m].next) {
		const struct access *access = &work->accesses[m];

		for (; insn < ACCESS_INSN(m); insn++)
			if (work->kinds[insn] == KIND_JCC || work->kinds[insn] == KIND_JCC_BACK)
				return false;
		if (access->write && access->to - lead->from <= MAX_SPAN &&
			lead->to - access->from <= MAX_SPAN)
			return true;
	}
	return false;
}

static unsigned free_slot(const uint8_t *busy_until, unsigned n)
{
	unsigned slot = 0;

	while (slot < NR_POINTERS && busy_until[slot] >= ACCESS_INSN(n) + 1)
		slot++;
	return slot;
}

/* The group that the access at `n` begins, if there is one. */
static void form_group(struct work *work, unsigned n, uint8_t *busy_until)
{
	struct access *lead = &work->accesses[n];
	unsigned slot = free_slot(busy_until, n), last = n;
	struct group group = { .from = lead->from, .to = lead->to, .slot = (uint8_t)slot };
	bool write = lead->write || written_soon(work, n);

	if (slot == NR_POINTERS)
		return;
	for (unsigned m = lead->next; m != NO_ACCESS; m = work->accesses[m].next) {
		struct access *access = &work->accesses[m];
		int32_t from = access->from < group.from ? access->from : group.from;
		int32_t to = access->to > group.to ? access->to : group.to;

		if (access->group != NO_GROUP || (access->write && !write) || to - from > MAX_SPAN)
			continue;
		group.from = from;
		group.to = to;
		access->group = (uint8_t)work->nr_groups;
		last = m;
	}
	if (last == n)
		return;
	group.write = write;
	lead->group = (uint8_t)work->nr_groups;
	lead->leads = true;
	work->groups[work->nr_groups++] = group;
	busy_until[slot] = (uint8_t)(ACCESS_INSN(last) + 1);
	for (unsigned insn = ACCESS_INSN(n) + 1; insn <= ACCESS_INSN(last); insn++)
		work->pointer_live[insn] = true;
}

void translate_groups(struct work *work)
{
	struct follower follower = { .work = work, .next_root = ROOT_GPR };
	uint8_t busy_until[NR_POINTERS] = { 0 };

	work->nr_groups = 0;
	for (unsigned n = 0; n < work->nr_insns; n++) {
		work->accesses[ACCESS_OPERAND(n)] = work->accesses[ACCESS_STACK(n)] =
			(struct access){ .next = NO_ACCESS, .group = NO_GROUP };
		work->pointer_live[n] = false;
	}
	if (work->translation->single)
		return;
	forget_all(&follower);
	for (unsigned n = 0; n < work->nr_insns; n++) {
		add_accesses(&follower, n, work->insns[n], (enum translate_kind)work->kinds[n]);
		follow(&follower, work->insns[n], (enum translate_kind)work->kinds[n]);
	}
	for (unsigned n = 0; n < 2 * work->nr_insns; n++)
		if (work->accesses[n].group == NO_GROUP && work->accesses[n].next != NO_ACCESS)
			form_group(work, n, busy_until);
}
