/*
 * The image of the guest's vector registers (vector_state.h), and its conversion to and from the
 * form that is saved.
 */
#include "engine/soft/vector_state.h"

static void bytes_copy(uint8_t *to, const uint8_t *from, unsigned size)
{
	for (unsigned i = 0; i < size; i++)
		to[i] = from[i];
}

static void bytes_clear(void *bytes, unsigned size)
{
	for (unsigned i = 0; i < size; i++)
		((uint8_t *)bytes)[i] = 0;
}

void vector_image_init_components(struct cpu_xsave *image, uint64_t components)
{
	if (components & XCR0_X87) {
		image->fcw = X87_FCW_RESET;
		image->fsw = 0;
		image->ftw = 0;
		image->fop = 0;
		image->fip = 0;
		image->fdp = 0;
		bytes_clear(image->st, sizeof(image->st));
	}
	if (components & XCR0_SSE)
		bytes_clear(image->xmm, sizeof(image->xmm));
	if (components & XCR0_AVX)
		bytes_clear(image->ymm_high, sizeof(image->ymm_high));
}

void vector_image_read(const struct cpu_xsave *image, unsigned n, uint8_t value[32])
{
	bytes_copy(value, image->xmm[n], 16);
	bytes_copy(value + 16, image->ymm_high[n], 16);
}

void vector_image_write(struct cpu_xsave *image, unsigned n, const uint8_t value[32])
{
	bytes_copy(image->xmm[n], value, 16);
	bytes_copy(image->ymm_high[n], value + 16, 16);
	image->xstate_bv |= XCR0_SSE | XCR0_AVX;
}

void vector_get(struct vcpu *vcpu, struct cpu_xsave *image)
{
	*image = *vector_image(vcpu);
	image->fip = vcpu->x87_last_ip;
	image->fdp = vcpu->x87_last_dp;
	image->fop = vcpu->x87_last_opcode;
	image->mxcsr_mask = VECTOR_MXCSR_MASK;
}

void vector_set(struct vcpu *vcpu, const struct cpu_xsave *from)
{
	struct cpu_xsave *image = &vcpu->xsave;

	vector_leave(vcpu);
	vcpu->vector_away = false;
	*image = *from;
	/* XRSTOR refuses components that the host does not have. */
	image->xstate_bv &= vcpu->vector_components ? vcpu->vector_components : XCR0_X87 | XCR0_SSE;
	vector_image_init_components(image, ~image->xstate_bv);
	image->xcomp_bv = 0;
	image->reserved0 = 0;
	bytes_clear(image->reserved1, sizeof(image->reserved1));
	bytes_clear(image->reserved2, sizeof(image->reserved2));
	image->mxcsr &= VECTOR_MXCSR_MASK;
	image->mxcsr_mask = VECTOR_MXCSR_MASK;
	image->fcw = x87_normal_fcw(image->fcw);
	image->fsw = x87_normal_fsw(image->fsw, image->fcw);
	vcpu->x87_last_ip = image->fip;
	vcpu->x87_last_dp = image->fdp;
	vcpu->x87_last_opcode = image->fop & X87_FOP_VALID;
}
