/*
 * The image of the guest's vector registers in vcpu->xsave, for instructions that work on it.
 */
#ifndef ENGINE_SOFT_VECTOR_STATE_H
#define ENGINE_SOFT_VECTOR_STATE_H

#include "engine/soft/execute.h"
#include "engine/soft/vector.h"

#define X87_FCW_RESET 0x037f /* after FNINIT */
#define X87_FCW_FIXED BIT(6) /* reads as 1 */
#define X87_FCW_VALID (BITS(5, 0) | BITS(12, 8))
#define X87_FSW_ES    BIT(7)
#define X87_FSW_TOP   BITS(13, 11)
#define X87_FSW_B     BIT(15)
#define X87_FOP_VALID BITS(10, 0)
#define MXCSR_RESET   0x1f80

/* Bytes of the image, as FXSAVE and XSAVE lay it out (SDM 1 10.5.1, 13.4). */
#define IMAGE_X87_BYTES    160 /* x87, MXCSR and its mask */
#define IMAGE_LEGACY_BYTES 416 /* and XMM0 to XMM15 */
#define IMAGE_HEADER       512
#define IMAGE_AVX          576
#define IMAGE_BYTES        832

_Static_assert(offsetof(struct cpu_xsave, xmm) == IMAGE_X87_BYTES, "SDM 1 10.5.1");
_Static_assert(offsetof(struct cpu_xsave, xstate_bv) == IMAGE_HEADER, "SDM 1 13.4.2");
_Static_assert(offsetof(struct cpu_xsave, ymm_high) == IMAGE_AVX, "SDM 1 13.4.3");
_Static_assert(sizeof(struct cpu_xsave) == IMAGE_BYTES, "SDM 1 13.4");

/*
 * The control word as the unit keeps it, and the status word with ES and B as the exceptions and
 * masks imply: the processor derives them when it loads a status word. A pending exception without
 * a cause would make Linux repeat the instruction for ever.
 */
static inline uint16_t x87_normal_fcw(uint16_t fcw)
{
	return (uint16_t)((fcw & X87_FCW_VALID) | X87_FCW_FIXED);
}

static inline uint16_t x87_normal_fsw(uint16_t fsw, uint16_t fcw)
{
	fsw &= (uint16_t) ~(X87_FSW_ES | X87_FSW_B);
	return fsw & ~fcw & 0x3f ? (uint16_t)(fsw | X87_FSW_ES | X87_FSW_B) : fsw;
}

/* Raises #MF if an unmasked exception is pending. Leaves the registers loaded (but see
 * vector_settle). */
static inline void x87_check_pending(struct vcpu *vcpu)
{
	uint16_t fsw;

	vector_load(vcpu);
	__asm__ volatile("fnstsw %0" : "=a"(fsw));
	vector_settle(vcpu);
	if (fsw & X87_FSW_ES)
		cpu_raise(vcpu, X86_MF);
}

/* Gives components (XCR0_*) of the image their initial values (SDM 1 13.6). MXCSR is not of any. */
void vector_image_init_components(struct cpu_xsave *image, uint64_t components);

/* The 32 bytes of a vector register, of the image; marks the components as in use. */
void vector_image_read(const struct cpu_xsave *image, unsigned n, uint8_t value[32]);
void vector_image_write(struct cpu_xsave *image, unsigned n, const uint8_t value[32]);

#endif
