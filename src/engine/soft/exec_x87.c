/*
 * The x87 instructions whose effect the host's unit cannot have alone: those that store and load
 * the last-instruction and last-data pointers, which there are the host's (SDM 1 8.1.8 to 8.1.10).
 *
 * In real-address and virtual-8086 mode the pointers are linear addresses; else offsets, with the
 * selectors saved as 0.
 */
#include "engine/soft/operand.h"
#include "engine/soft/vector_state.h"
#include "engine/soft/thunk.h"

/* The 32-bit protected-mode format, which is that of the host; FSAVE appends the registers. */
struct host_environment {
	uint32_t fcw, fsw, ftw;
	uint32_t fip;
	uint32_t fcs_fop;
	uint32_t fdp;
	uint32_t fds;
};

#define X87_REGISTER_BYTES 80

struct host_state {
	struct host_environment environment;
	uint8_t registers[X87_REGISTER_BYTES];
};

_Static_assert(sizeof(struct host_state) == 108, "SDM 2, FSAVE");

#define ENVIRONMENT_MAX (sizeof(struct host_environment))
#define SAVE_MAX        (ENVIRONMENT_MAX + X87_REGISTER_BYTES)

/* High halves of the words of 16 bits, as the processor writes them. */
#define RESERVED_HIGH 0xffff0000u
/* Where the real-mode formats keep bits 31:16 (19:16) of the pointers, and the opcode. */
#define REAL32_POINTER_HIGH BITS(27, 12)
#define REAL16_POINTER_HIGH BITS(15, 12)

static bool is_real_format(const struct vcpu *vcpu)
{
	return !vcpu->mode.protected_mode || vcpu->mode.virtual_8086;
}

static unsigned environment_words(const struct insn *insn)
{
	return insn->operand_bytes == 2 ? 2 : 4;
}

static void put_word(uint8_t *image, unsigned width, unsigned index, uint32_t value)
{
	for (unsigned i = 0; i < width; i++)
		image[index * width + i] = (uint8_t)(value >> (8 * i));
}

static uint32_t get_word(const uint8_t *image, unsigned width, unsigned index)
{
	uint32_t value = 0;

	for (unsigned i = 0; i < width; i++)
		value |= (uint32_t)image[index * width + i] << (8 * i);
	return value;
}

/* Writes seven words of `width` bytes (SDM 1 figures 8-9 to 8-12). */
static void environment_encode(const struct vcpu *vcpu, const struct host_environment *host,
	unsigned width, uint8_t *image)
{
	uint32_t fip = (uint32_t)vcpu->x87_last_ip, fdp = (uint32_t)vcpu->x87_last_dp;
	uint32_t fop = vcpu->x87_last_opcode;

	put_word(image, width, 0, host->fcw | RESERVED_HIGH);
	put_word(image, width, 1, host->fsw | RESERVED_HIGH);
	put_word(image, width, 2, host->ftw | RESERVED_HIGH);
	if (!is_real_format(vcpu)) {
		put_word(image, width, 3, fip);
		put_word(image, width, 4, fop << 16);
		put_word(image, width, 5, fdp);
		put_word(image, width, 6, RESERVED_HIGH);
		return;
	}
	put_word(image, width, 3, (fip & 0xffff) | (width == 4 ? RESERVED_HIGH : 0));
	put_word(image, width, 5, (fdp & 0xffff) | (width == 4 ? RESERVED_HIGH : 0));
	if (width == 4) {
		put_word(image, width, 4, field_set(REAL32_POINTER_HIGH, fop, fip >> 16));
		put_word(image, width, 6, field_set(REAL32_POINTER_HIGH, 0, fdp >> 16));
	} else {
		put_word(image, width, 4, field_set(REAL16_POINTER_HIGH, fop, fip >> 16));
		put_word(image, width, 6, field_set(REAL16_POINTER_HIGH, 0, fdp >> 16));
	}
}

static void environment_decode(
	struct vcpu *vcpu, struct host_environment *host, unsigned width, const uint8_t *image)
{
	uint32_t high = get_word(image, width, 4);
	uint64_t pointer_high = width == 4 ? REAL32_POINTER_HIGH : REAL16_POINTER_HIGH;

	host->fcw = x87_normal_fcw((uint16_t)get_word(image, width, 0));
	host->fsw = x87_normal_fsw((uint16_t)get_word(image, width, 1), (uint16_t)host->fcw);
	host->ftw = (uint16_t)get_word(image, width, 2);
	host->fip = host->fcs_fop = host->fdp = host->fds = 0;
	vcpu->x87_last_ip = get_word(image, width, 3);
	vcpu->x87_last_dp = get_word(image, width, 5);
	if (!is_real_format(vcpu)) {
		vcpu->x87_last_opcode = width == 4 ? high >> 16 & X87_FOP_VALID : 0;
		return;
	}
	vcpu->x87_last_ip = (uint16_t)vcpu->x87_last_ip | field_get(pointer_high, high) << 16;
	vcpu->x87_last_dp = (uint16_t)vcpu->x87_last_dp |
			    field_get(pointer_high, get_word(image, width, 6)) << 16;
	vcpu->x87_last_opcode = high & X87_FOP_VALID;
}

static void x87_forget_last(struct vcpu *vcpu)
{
	vcpu->x87_last_ip = 0;
	vcpu->x87_last_dp = 0;
	vcpu->x87_last_opcode = 0;
}

EXEC(exec_x87_fnstenv)
{
	unsigned width = environment_words(insn);
	gva_t address = insn_linear(vcpu, insn, 7 * width, MMU_WRITE);
	struct host_environment host;
	uint8_t image[ENVIRONMENT_MAX];

	mmu_probe_write(vcpu, address, 7 * width);
	vector_load(vcpu);
	__asm__ volatile("fnstenv %0" : "=m"(host));
	environment_encode(vcpu, &host, width, image);
	mmu_write(vcpu, address, image, 7 * width);
}

EXEC(exec_x87_fldenv)
{
	unsigned width = environment_words(insn);
	struct host_environment host;
	uint8_t image[ENVIRONMENT_MAX];

	x87_check_pending(vcpu);
	mmu_read(vcpu, insn_linear(vcpu, insn, 7 * width, MMU_READ), image, 7 * width);
	environment_decode(vcpu, &host, width, image);
	vector_load(vcpu);
	__asm__ volatile("fldenv %0" : : "m"(host));
}

EXEC(exec_x87_fnsave)
{
	unsigned width = environment_words(insn), size = 7 * width + X87_REGISTER_BYTES;
	gva_t address = insn_linear(vcpu, insn, size, MMU_WRITE);
	struct host_state host;
	uint8_t image[SAVE_MAX];

	mmu_probe_write(vcpu, address, size);
	vector_load(vcpu);
	__asm__ volatile("fnsave %0" : "=m"(host));
	environment_encode(vcpu, &host.environment, width, image);
	for (unsigned i = 0; i < X87_REGISTER_BYTES; i++)
		image[7 * width + i] = host.registers[i];
	x87_forget_last(vcpu);
	mmu_write(vcpu, address, image, size);
}

EXEC(exec_x87_frstor)
{
	unsigned width = environment_words(insn), size = 7 * width + X87_REGISTER_BYTES;
	struct host_state host;
	uint8_t image[SAVE_MAX];

	x87_check_pending(vcpu);
	mmu_read(vcpu, insn_linear(vcpu, insn, size, MMU_READ), image, size);
	environment_decode(vcpu, &host.environment, width, image);
	for (unsigned i = 0; i < X87_REGISTER_BYTES; i++)
		host.registers[i] = image[7 * width + i];
	vector_load(vcpu);
	__asm__ volatile("frstor %0" : : "m"(host));
}

EXEC(exec_x87_fninit)
{
	(void)insn;
	vector_load(vcpu);
	__asm__ volatile("fninit");
	x87_forget_last(vcpu);
}
