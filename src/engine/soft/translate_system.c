/*
 * System instructions that kernels execute at every turn: CLI, STI, SWAPGS, PUSHF, RDTSC, RDTSCP.
 *
 * The interrupt flag is in vcpu->flags_system; whether translated code is left for an interrupt is
 * in poll_mask. An STI is the interpreter's if anything is pending, so that the interrupt comes
 * where the architecture has it: after the next instruction.
 */
#include "engine/soft/translator.h"

/* ADD, OR and AND with an immediate, as ModRM.reg of 81. */
#define GROUP_OR  1
#define GROUP_AND 4

#define OPCODE_OR 0x0b

/* `op` DWORD GS:[offset], value */
static void emit_state_group(struct emitter *emitter, unsigned op, size_t offset, uint32_t value)
{
	emit_u8(emitter, 0x65);
	emit_u8(emitter, 0x81);
	emit_u8(emitter, op << 3 | 4);
	emit_u8(emitter, 0x25);
	emit_u32(emitter, (uint32_t)offset);
	emit_u32(emitter, value);
}

static void emit_bytes(struct emitter *emitter, const uint8_t *bytes, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		emit_u8(emitter, bytes[i]);
}

static void work_cli(struct work *work)
{
	struct emitter *emitter = &work->emitter;

	work_before_clobber(work);
	emit_state_group(
		emitter, GROUP_AND, offsetof(struct vcpu, flags_system), (uint32_t)~RFLAGS_IF);
	emit_state_group(emitter, GROUP_AND, offsetof(struct vcpu, translate.poll_mask),
		(uint32_t)~REQUEST_INTERRUPT);
}

static void work_sti(struct work *work)
{
	struct emitter *emitter = &work->emitter;

	work_before_clobber(work);
	emit_state_op(emitter, OPCODE_LOAD, TEMP_A, offsetof(struct vcpu, requests));
	emit_register_op(emitter, OPCODE_TEST, TEMP_A, TEMP_A);
	work_stub(work, emit_jcc(emitter, CONDITION_NE), EXIT_INSN, 0, false);
	emit_state_group(
		emitter, GROUP_OR, offsetof(struct vcpu, flags_system), (uint32_t)RFLAGS_IF);
	emit_state_group(emitter, GROUP_OR, offsetof(struct vcpu, translate.poll_mask),
		(uint32_t)REQUEST_INTERRUPT);
}

static void work_swapgs(struct work *work)
{
	struct emitter *emitter = &work->emitter;
	size_t active = offsetof(struct vcpu, segment) + X86_GS * sizeof(struct cpu_segment) +
			offsetof(struct cpu_segment, base);
	size_t other = offsetof(struct vcpu, kernel_gs_base);

	emit_state_op(emitter, OPCODE_LOAD, TEMP_A, active);
	emit_state_op(emitter, OPCODE_LOAD, TEMP_B, other);
	emit_state_op(emitter, OPCODE_STORE, TEMP_A, other);
	emit_state_op(emitter, OPCODE_STORE, TEMP_B, active);
}

/* MOVZX of 32 bits from the byte GS:[offset] to R10 or R11. */
static void emit_load_byte(struct emitter *emitter, unsigned reg, size_t offset)
{
	const uint8_t opcode[] = { 0x65, 0x44, 0x0f, 0xb6, (uint8_t)((reg & 7) << 3 | 4), 0x25 };

	emit_bytes(emitter, opcode, sizeof(opcode));
	emit_u32(emitter, (uint32_t)offset);
}

/* RF and VM are clear wherever translated code runs. */
static void work_pushf(struct work *work)
{
	static const uint8_t and_r11_d5[] = { 0x41, 0x81, 0xe3, 0xd5, 0, 0, 0 };
	static const uint8_t shl_r10_11[] = { 0x41, 0xc1, 0xe2, 11 };
	static const uint8_t or_r11_2[] = { 0x49, 0x83, 0xcb, RFLAGS_ONE };
	struct emitter *emitter = &work->emitter;
	size_t spill = offsetof(struct vcpu, translate.spill);
	struct emit_memory memory;

	work_save_flags(work);
	work_before_clobber(work);
	emit_load_byte(emitter, TEMP_A, offsetof(struct vcpu, flags_low));
	emit_bytes(emitter, and_r11_d5, sizeof(and_r11_d5));
	emit_load_byte(emitter, TEMP_B, offsetof(struct vcpu, flags_of));
	emit_bytes(emitter, shl_r10_11, sizeof(shl_r10_11));
	emit_register_op(emitter, OPCODE_OR, TEMP_A, TEMP_B);
	emit_state_op(emitter, OPCODE_OR, TEMP_A, offsetof(struct vcpu, flags_system));
	emit_bytes(emitter, or_r11_2, sizeof(or_r11_2));
	emit_state_op(emitter, OPCODE_STORE, TEMP_A, spill);
	memory = work_check(work, (struct place_in_memory){ .base = X86_RSP, .disp = -8 }, 8, true);
	emit_state_op(emitter, OPCODE_LOAD, TEMP_A, spill);
	emit_memory_op(emitter, OPCODE_STORE, TEMP_A, memory);
	emit_memory_op(emitter, OPCODE_LEA, X86_RSP,
		(struct emit_memory){ X86_RSP, EMIT_NO_REGISTER, -8 });
}

/* RDTSCP waits for what precedes it, for which LFENCE serves. */
static void work_rdtsc(struct work *work, bool with_aux)
{
	static const uint8_t test_cr4[] = { 0x65, 0xf7, 0x04, 0x25 };
	static const uint8_t lfence[] = { 0x0f, 0xae, 0xe8 };
	static const uint8_t rdtsc_shl_rdx_32[] = { 0x0f, 0x31, 0x48, 0xc1, 0xe2, 32 };
	static const uint8_t shr_rdx_32_mov_eax_eax[] = { 0x48, 0xc1, 0xea, 32, 0x89, 0xc0 };
	static const uint8_t mov_ecx[] = { 0x65, 0x8b, 0x0c, 0x25 };
	struct emitter *emitter = &work->emitter;

	work_before_clobber(work);
	if (work->set == TLB_USER) {
		emit_bytes(emitter, test_cr4, sizeof(test_cr4));
		emit_u32(emitter, offsetof(struct vcpu, cr4));
		emit_u32(emitter, CR4_TSD);
		work_stub(work, emit_jcc(emitter, CONDITION_NE), EXIT_INSN, 0, false);
	}
	if (with_aux)
		emit_bytes(emitter, lfence, sizeof(lfence));
	emit_bytes(emitter, rdtsc_shl_rdx_32, sizeof(rdtsc_shl_rdx_32));
	emit_register_op(emitter, OPCODE_OR, X86_RAX, X86_RDX);
	emit_state_op(emitter, OPCODE_ADD, X86_RAX, offsetof(struct vcpu, tsc_offset));
	emit_register_op(emitter, OPCODE_LOAD, X86_RDX, X86_RAX);
	emit_bytes(emitter, shr_rdx_32_mov_eax_eax, sizeof(shr_rdx_32_mov_eax_eax));
	if (!with_aux)
		return;
	emit_bytes(emitter, mov_ecx, sizeof(mov_ecx));
	emit_u32(emitter, offsetof(struct vcpu, tsc_aux));
}

void work_system(struct work *work, enum translate_kind kind)
{
	switch (kind) {
	case KIND_CLI: work_cli(work); break;
	case KIND_STI: work_sti(work); break;
	case KIND_SWAPGS: work_swapgs(work); break;
	case KIND_PUSHF: work_pushf(work); break;
	case KIND_RDTSC: work_rdtsc(work, false); break;
	default: work_rdtsc(work, true);
	}
}
