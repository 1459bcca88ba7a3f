/*
 * FXSAVE, FXRSTOR and the XSAVE family (SDM 1 10.5 and 13.7 to 13.10; SDM 2), for x87, SSE and AVX.
 *
 * They work on the image in vcpu->xsave, never on the host's registers. The modified optimization
 * of XSAVEOPT is not modelled: it writes all components in use. XSAVES is not in CPUID.
 */
#include "engine/soft/operand.h"
#include "engine/soft/vector_state.h"

#include <string.h>

#define XSAVE_ALIGNMENT  64
#define FXSAVE_ALIGNMENT 16
#define FXSAVE_BYTES     512

#define XCOMP_COMPACT BIT(63)

/* The bytes of XMM0 (or of YMM0's upper half) and those after it that the mode has. */
static unsigned register_bytes(const struct vcpu *vcpu)
{
	return vcpu->mode.insn == INSN_MODE_64 ? 16 * 16 : 8 * 16;
}

static gva_t image_linear(struct vcpu *vcpu, const struct insn *insn, unsigned size,
	unsigned alignment, enum mmu_access access)
{
	gva_t address = insn_linear(vcpu, insn, size, access);

	if (address & (alignment - 1))
		cpu_raise_error(vcpu, X86_GP, 0);
	return address;
}

/* What the instruction stores, in the format that REX.W selects. */
static void image_to_store(struct vcpu *vcpu, const struct insn *insn, struct cpu_xsave *image)
{
	vector_get(vcpu, image);
	if (!(insn->prefixes & PREFIX_REX_W)) {
		/* Bits 63:32 are FCS and FDS. */
		image->fip = (uint32_t)image->fip;
		image->fdp = (uint32_t)image->fdp;
	}
}

static void load_x87(struct vcpu *vcpu, const struct insn *insn, const struct cpu_xsave *from)
{
	struct cpu_xsave *to = &vcpu->xsave;

	to->fcw = x87_normal_fcw(from->fcw);
	to->fsw = x87_normal_fsw(from->fsw, to->fcw);
	to->ftw = from->ftw;
	for (unsigned i = 0; i < ARRAY_SIZE(to->st); i++)
		memcpy(to->st[i], from->st[i], 10);
	vcpu->x87_last_opcode = from->fop & X87_FOP_VALID;
	vcpu->x87_last_ip = from->fip;
	vcpu->x87_last_dp = from->fdp;
	if (!(insn->prefixes & PREFIX_REX_W)) {
		vcpu->x87_last_ip = (uint32_t)from->fip;
		vcpu->x87_last_dp = (uint32_t)from->fdp;
	}
	to->xstate_bv |= XCR0_X87;
}

static void init_x87(struct vcpu *vcpu)
{
	vector_image_init_components(&vcpu->xsave, XCR0_X87);
	vcpu->x87_last_opcode = 0;
	vcpu->x87_last_ip = 0;
	vcpu->x87_last_dp = 0;
	vcpu->xsave.xstate_bv &= ~XCR0_X87;
}

/* Whether FXSAVE and FXRSTOR leave out the XMM registers (AMD APM 2 11.4.4, fast FXSAVE). */
static bool is_fast(const struct vcpu *vcpu)
{
	return (vcpu->efer & EFER_FFXSR) && vcpu->mode.insn == INSN_MODE_64 && vcpu->mode.cpl == 0;
}

EXEC(exec_fxsave)
{
	struct cpu_xsave image;
	gva_t address;

	if (vcpu->cr0 & (CR0_TS | CR0_EM))
		cpu_raise(vcpu, X86_NM);
	address = image_linear(vcpu, insn, FXSAVE_BYTES, FXSAVE_ALIGNMENT, MMU_WRITE);
	mmu_probe_write(vcpu, address, FXSAVE_BYTES);
	image_to_store(vcpu, insn, &image);
	mmu_write(vcpu, address, &image,
		is_fast(vcpu) ? IMAGE_X87_BYTES : IMAGE_X87_BYTES + register_bytes(vcpu));
}

EXEC(exec_fxrstor)
{
	struct cpu_xsave image;
	gva_t address;

	if (vcpu->cr0 & (CR0_TS | CR0_EM))
		cpu_raise(vcpu, X86_NM);
	address = image_linear(vcpu, insn, FXSAVE_BYTES, FXSAVE_ALIGNMENT, MMU_READ);
	mmu_read(vcpu, address, &image, FXSAVE_BYTES);
	if (image.mxcsr & ~VECTOR_MXCSR_MASK)
		cpu_raise_error(vcpu, X86_GP, 0);
	vector_image(vcpu);
	load_x87(vcpu, insn, &image);
	vcpu->xsave.mxcsr = image.mxcsr;
	if (!is_fast(vcpu)) {
		memcpy(vcpu->xsave.xmm, image.xmm, register_bytes(vcpu));
		vcpu->xsave.xstate_bv |= XCR0_SSE;
	}
}

static void xsave_check(struct vcpu *vcpu)
{
	if (!(vcpu->cr4 & CR4_OSXSAVE))
		cpu_raise(vcpu, X86_UD);
	if (vcpu->cr0 & CR0_TS)
		cpu_raise(vcpu, X86_NM);
}

/* RFBM, SDM 1 13.3: the components that EDX:EAX asks for and XCR0 has. */
static uint64_t requested_components(const struct vcpu *vcpu)
{
	return vcpu->xcr0 & ((uint32_t)vcpu->gpr[X86_RAX] | vcpu->gpr[X86_RDX] << 32);
}

enum xsave_form { XSAVE_PLAIN, XSAVE_OPTIMIZED, XSAVE_COMPACT };

static void xsave(struct vcpu *vcpu, const struct insn *insn, enum xsave_form form)
{
	uint64_t requested = requested_components(vcpu), in_use, stored, xstate_bv;
	unsigned size = requested & XCR0_AVX ? IMAGE_BYTES : IMAGE_AVX;
	struct cpu_xsave image;
	gva_t address;
	bool mxcsr;

	xsave_check(vcpu);
	address = image_linear(vcpu, insn, size, XSAVE_ALIGNMENT, MMU_WRITE);
	mmu_probe_write(vcpu, address, size);
	image_to_store(vcpu, insn, &image);

	in_use = image.xstate_bv;
	if (form == XSAVE_COMPACT && image.mxcsr != MXCSR_RESET)
		in_use |= XCR0_SSE;
	stored = form == XSAVE_PLAIN ? requested : requested & in_use;
	mxcsr = form == XSAVE_COMPACT ? stored & XCR0_SSE : requested & (XCR0_SSE | XCR0_AVX);

	if (stored & XCR0_X87) {
		mmu_write(vcpu, address, &image, offsetof(struct cpu_xsave, mxcsr));
		mmu_write(
			vcpu, address + offsetof(struct cpu_xsave, st), image.st, sizeof(image.st));
	}
	if (mxcsr)
		mmu_write(vcpu, address + offsetof(struct cpu_xsave, mxcsr), &image.mxcsr,
			2 * sizeof(image.mxcsr));
	if (stored & XCR0_SSE)
		mmu_write(vcpu, address + IMAGE_X87_BYTES, image.xmm, register_bytes(vcpu));
	if (stored & XCR0_AVX)
		mmu_write(vcpu, address + IMAGE_AVX, image.ymm_high, register_bytes(vcpu));

	xstate_bv = requested & in_use;
	if (form == XSAVE_COMPACT)
		mmu_write_u64(vcpu, address + IMAGE_HEADER + 8, requested | XCOMP_COMPACT);
	else
		xstate_bv |= mmu_read_u64(vcpu, address + IMAGE_HEADER) & ~requested;
	mmu_write_u64(vcpu, address + IMAGE_HEADER, xstate_bv);
}

EXEC(exec_xsave)
{
	xsave(vcpu, insn, XSAVE_PLAIN);
}

EXEC(exec_xsaveopt)
{
	xsave(vcpu, insn, XSAVE_OPTIMIZED);
}

EXEC(exec_xsavec)
{
	xsave(vcpu, insn, XSAVE_COMPACT);
}

/* SDM 1 13.8: what XRSTOR refuses in the header. */
static bool header_is_valid(const struct vcpu *vcpu, const struct cpu_xsave *image)
{
	const uint8_t *reserved = image->reserved2;
	bool compact = image->xcomp_bv & XCOMP_COMPACT;
	uint64_t allowed = vcpu->xcr0;
	unsigned checked = compact ? sizeof(image->reserved2) : 8; /* bytes 63:16 or 23:16 */

	if (compact) {
		allowed = image->xcomp_bv & ~XCOMP_COMPACT;
		if (allowed & ~vcpu->xcr0)
			return false;
	} else if (image->xcomp_bv != 0) {
		return false;
	}
	for (unsigned i = 0; i < checked; i++)
		if (reserved[i])
			return false;
	return !(image->xstate_bv & ~allowed);
}

static void restore_sse(struct vcpu *vcpu, const struct cpu_xsave *from)
{
	memcpy(vcpu->xsave.xmm, from->xmm, register_bytes(vcpu));
	vcpu->xsave.xstate_bv |= XCR0_SSE;
}

static void restore_avx(struct vcpu *vcpu, const struct cpu_xsave *from)
{
	memcpy(vcpu->xsave.ymm_high, from->ymm_high, register_bytes(vcpu));
	vcpu->xsave.xstate_bv |= XCR0_AVX;
}

static void init_vectors(struct vcpu *vcpu, uint64_t components)
{
	struct cpu_xsave *image = &vcpu->xsave;

	if (components & XCR0_SSE)
		memset(image->xmm, 0, register_bytes(vcpu));
	if (components & XCR0_AVX)
		memset(image->ymm_high, 0, register_bytes(vcpu));
	/* Outside 64-bit mode the other eight registers keep their values. */
	if (vcpu->mode.insn == INSN_MODE_64)
		image->xstate_bv &= ~(components & (XCR0_SSE | XCR0_AVX));
}

EXEC(exec_xrstor)
{
	uint64_t requested = requested_components(vcpu), restored;
	bool compact, load_mxcsr;
	struct cpu_xsave image;
	gva_t address;

	xsave_check(vcpu);
	address = image_linear(vcpu, insn, IMAGE_AVX, XSAVE_ALIGNMENT, MMU_READ);
	mmu_read(vcpu, address, &image, IMAGE_AVX);
	if (!header_is_valid(vcpu, &image))
		cpu_raise_error(vcpu, X86_GP, 0);
	restored = requested & image.xstate_bv;
	if (restored & XCR0_AVX) {
		insn_linear(vcpu, insn, IMAGE_BYTES, MMU_READ);
		mmu_read(vcpu, address + IMAGE_AVX, image.ymm_high, register_bytes(vcpu));
	}
	compact = image.xcomp_bv & XCOMP_COMPACT;
	load_mxcsr = compact ? restored & XCR0_SSE : requested & (XCR0_SSE | XCR0_AVX);
	if (load_mxcsr && (image.mxcsr & ~VECTOR_MXCSR_MASK))
		cpu_raise_error(vcpu, X86_GP, 0);

	vector_image(vcpu);
	if (restored & XCR0_X87)
		load_x87(vcpu, insn, &image);
	else if (requested & XCR0_X87)
		init_x87(vcpu);
	init_vectors(vcpu, requested & ~restored);
	if (restored & XCR0_SSE)
		restore_sse(vcpu, &image);
	if (restored & XCR0_AVX)
		restore_avx(vcpu, &image);
	if (load_mxcsr)
		vcpu->xsave.mxcsr = image.mxcsr;
	else if (compact && (requested & XCR0_SSE))
		vcpu->xsave.mxcsr = MXCSR_RESET;
}
