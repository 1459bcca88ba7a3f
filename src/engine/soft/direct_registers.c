/* A vCPU's registers in a runner (direct_registers.h). */
#include "engine/soft/direct_registers.h"

#include "engine/soft/direct_runner.h"
#include "engine/soft/segment.h"

/* The host's selectors for 64-bit user code, which are Linux guests' too. */
#define HOST_CS    0x33
#define HOST_SS    0x2b
#define HOST_CS_32 0x23

/* Flags a user can change, or sees. */
#define USER_FLAGS                                                                                 \
	(RFLAGS_ARITHMETIC | RFLAGS_TF | RFLAGS_IF | RFLAGS_DF | RFLAGS_NT | RFLAGS_AC | RFLAGS_ID)
#define AVX_STATE (XCR0_X87 | XCR0_SSE | XCR0_AVX)

static bool suits_segment(uint16_t selector)
{
	return selector == 0 || selector == HOST_SS;
}

static bool suits_segments(const struct vcpu *vcpu)
{
	const struct cpu_segment *segment = vcpu->segment;

	return segment[X86_CS].selector == HOST_CS && segment[X86_SS].selector == HOST_SS &&
	       suits_segment(segment[X86_DS].selector) && suits_segment(segment[X86_ES].selector) &&
	       segment[X86_FS].selector == 0 && segment[X86_GS].selector == 0 &&
	       segment[X86_FS].base < DIRECT_USER_END && segment[X86_GS].base < DIRECT_USER_END;
}

static bool suits_units(const struct vcpu *vcpu)
{
	return !(vcpu->cr0 & (CR0_TS | CR0_EM)) && vcpu->cr4 & CR4_OSFXSR &&
	       vcpu->cr4 & CR4_OSXSAVE && (vcpu->xcr0 & AVX_STATE) == AVX_STATE &&
	       (vcpu->vector_components & AVX_STATE) == AVX_STATE;
}

bool direct_suits(const struct vcpu *vcpu)
{
	const uint64_t flags =
		RFLAGS_IF | RFLAGS_IOPL | RFLAGS_TF | RFLAGS_RF | RFLAGS_NT | RFLAGS_VM;

	return vcpu->mode.cpl == 3 && vcpu->mode.insn == INSN_MODE_64 && vcpu->mode.paging &&
	       (vcpu->flags_system & flags) == RFLAGS_IF &&
	       vcpu->tlb_data == vcpu->tlb.entries[TLB_USER] && vcpu->efer & EFER_NXE &&
	       vcpu->a20_mask == UINT64_MAX && !vcpu->nmi_blocked && suits_units(vcpu) &&
	       suits_segments(vcpu);
}

void direct_put_registers(const struct vcpu *vcpu, struct user_regs_struct *regs)
{
	const uint64_t *gpr = vcpu->gpr;

	regs->rax = gpr[X86_RAX];
	regs->rcx = gpr[X86_RCX];
	regs->rdx = gpr[X86_RDX];
	regs->rbx = gpr[X86_RBX];
	regs->rsp = gpr[X86_RSP];
	regs->rbp = gpr[X86_RBP];
	regs->rsi = gpr[X86_RSI];
	regs->rdi = gpr[X86_RDI];
	regs->r8 = gpr[X86_R8];
	regs->r9 = gpr[X86_R9];
	regs->r10 = gpr[X86_R10];
	regs->r11 = gpr[X86_R11];
	regs->r12 = gpr[X86_R12];
	regs->r13 = gpr[X86_R13];
	regs->r14 = gpr[X86_R14];
	regs->r15 = gpr[X86_R15];
	regs->rip = vcpu->rip;
	regs->eflags = vcpu_rflags(vcpu);
	regs->cs = HOST_CS;
	regs->ss = HOST_SS;
	regs->ds = vcpu->segment[X86_DS].selector;
	regs->es = vcpu->segment[X86_ES].selector;
	regs->fs = regs->gs = 0;
	regs->fs_base = vcpu->segment[X86_FS].base;
	regs->gs_base = vcpu->segment[X86_GS].base;
}

void direct_take_registers(struct vcpu *vcpu, const struct user_regs_struct *regs)
{
	uint64_t *gpr = vcpu->gpr;

	gpr[X86_RAX] = regs->rax;
	gpr[X86_RCX] = regs->rcx;
	gpr[X86_RDX] = regs->rdx;
	gpr[X86_RBX] = regs->rbx;
	gpr[X86_RSP] = regs->rsp;
	gpr[X86_RBP] = regs->rbp;
	gpr[X86_RSI] = regs->rsi;
	gpr[X86_RDI] = regs->rdi;
	gpr[X86_R8] = regs->r8;
	gpr[X86_R9] = regs->r9;
	gpr[X86_R10] = regs->r10;
	gpr[X86_R11] = regs->r11;
	gpr[X86_R12] = regs->r12;
	gpr[X86_R13] = regs->r13;
	gpr[X86_R14] = regs->r14;
	gpr[X86_R15] = regs->r15;
	vcpu->rip = regs->rip;
	vcpu->segment[X86_FS].base = regs->fs_base;
	vcpu->segment[X86_GS].base = regs->gs_base;
	vcpu_set_rflags(vcpu, (regs->eflags & USER_FLAGS) | RFLAGS_IF);
}

/* A far transfer to the host's 32-bit code segment: the same one for a Linux guest. */
static void take_code_segment(struct vcpu *vcpu, uint16_t selector)
{
	struct cpu_segment *cs = &vcpu->segment[X86_CS];

	if (selector != HOST_CS_32)
		return;
	cs->selector = selector;
	cs->limit = UINT32_MAX;
	cs->attributes = (cs->attributes & ~SEG_L) | SEG_DB;
	vcpu_update_mode(vcpu);
}

void direct_take_selectors(struct vcpu *vcpu, const struct user_regs_struct *regs)
{
	if (regs->cs != HOST_CS)
		take_code_segment(vcpu, (uint16_t)regs->cs);
	if (regs->ds != vcpu->segment[X86_DS].selector)
		segment_load(vcpu, X86_DS, (uint16_t)regs->ds);
	if (regs->es != vcpu->segment[X86_ES].selector)
		segment_load(vcpu, X86_ES, (uint16_t)regs->es);
	if (regs->fs != 0) {
		segment_load(vcpu, X86_FS, (uint16_t)regs->fs);
		vcpu->segment[X86_FS].base = regs->fs_base;
	}
	if (regs->gs != 0) {
		segment_load(vcpu, X86_GS, (uint16_t)regs->gs);
		vcpu->segment[X86_GS].base = regs->gs_base;
	}
}
