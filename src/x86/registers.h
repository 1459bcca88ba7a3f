/*
 * Architectural registers, bits and vectors (SDM 3A chapters 2, 4, 6; AMD APM 2 chapter 3).
 */
#ifndef X86_REGISTERS_H
#define X86_REGISTERS_H

#include "base/bits.h"

/* General registers, numbered as instructions encode them. */
enum x86_gpr {
	X86_RAX,
	X86_RCX,
	X86_RDX,
	X86_RBX,
	X86_RSP,
	X86_RBP,
	X86_RSI,
	X86_RDI,
	X86_R8,
	X86_R9,
	X86_R10,
	X86_R11,
	X86_R12,
	X86_R13,
	X86_R14,
	X86_R15,
	X86_NR_GPRS
};

/* Segment registers, numbered as instructions encode them; then the system segments. */
enum x86_segment {
	X86_ES,
	X86_CS,
	X86_SS,
	X86_DS,
	X86_FS,
	X86_GS,
	X86_LDTR,
	X86_TR,
	X86_NR_SEGMENTS
};

/* RFLAGS, SDM 1 3.4.3. */
#define RFLAGS_CF         BIT(0)
#define RFLAGS_ONE        BIT(1)
#define RFLAGS_PF         BIT(2)
#define RFLAGS_AF         BIT(4)
#define RFLAGS_ZF         BIT(6)
#define RFLAGS_SF         BIT(7)
#define RFLAGS_TF         BIT(8)
#define RFLAGS_IF         BIT(9)
#define RFLAGS_DF         BIT(10)
#define RFLAGS_OF         BIT(11)
#define RFLAGS_IOPL       BITS(13, 12)
#define RFLAGS_NT         BIT(14)
#define RFLAGS_RF         BIT(16)
#define RFLAGS_VM         BIT(17)
#define RFLAGS_AC         BIT(18)
#define RFLAGS_VIF        BIT(19)
#define RFLAGS_VIP        BIT(20)
#define RFLAGS_ID         BIT(21)
#define RFLAGS_ARITHMETIC (RFLAGS_CF | RFLAGS_PF | RFLAGS_AF | RFLAGS_ZF | RFLAGS_SF | RFLAGS_OF)
/* Every bit that can be set; the rest reads 0, and RFLAGS_ONE reads 1. */
#define RFLAGS_WRITABLE                                                                            \
	(RFLAGS_ARITHMETIC | RFLAGS_TF | RFLAGS_IF | RFLAGS_DF | RFLAGS_IOPL | RFLAGS_NT |         \
		RFLAGS_RF | RFLAGS_VM | RFLAGS_AC | RFLAGS_VIF | RFLAGS_VIP | RFLAGS_ID)

/* CR0, SDM 3A 2.5. */
#define CR0_PE BIT(0)
#define CR0_MP BIT(1)
#define CR0_EM BIT(2)
#define CR0_TS BIT(3)
#define CR0_ET BIT(4)
#define CR0_NE BIT(5)
#define CR0_WP BIT(16)
#define CR0_AM BIT(18)
#define CR0_NW BIT(29)
#define CR0_CD BIT(30)
#define CR0_PG BIT(31)

/* CR3, SDM 3A 4.5. */
#define CR3_PCID     BITS(11, 0)
#define CR3_NO_FLUSH BIT(63)

/* CR4, SDM 3A 2.5. */
#define CR4_VME        BIT(0)
#define CR4_PVI        BIT(1)
#define CR4_TSD        BIT(2)
#define CR4_DE         BIT(3)
#define CR4_PSE        BIT(4)
#define CR4_PAE        BIT(5)
#define CR4_MCE        BIT(6)
#define CR4_PGE        BIT(7)
#define CR4_PCE        BIT(8)
#define CR4_OSFXSR     BIT(9)
#define CR4_OSXMMEXCPT BIT(10)
#define CR4_UMIP       BIT(11)
#define CR4_LA57       BIT(12)
#define CR4_FSGSBASE   BIT(16)
#define CR4_PCIDE      BIT(17)
#define CR4_OSXSAVE    BIT(18)
#define CR4_SMEP       BIT(20)
#define CR4_SMAP       BIT(21)

/* Extended feature enable register. */
#define EFER_SCE   BIT(0)
#define EFER_LME   BIT(8)
#define EFER_LMA   BIT(10)
#define EFER_NXE   BIT(11)
#define EFER_SVME  BIT(12)
#define EFER_FFXSR BIT(14)

/* XCR0, SDM 1 13.3. */
#define XCR0_X87 BIT(0)
#define XCR0_SSE BIT(1)
#define XCR0_AVX BIT(2)

/* Page-table entries, SDM 3A 4.3 to 4.5. */
#define PTE_P   BIT(0)
#define PTE_W   BIT(1)
#define PTE_U   BIT(2)
#define PTE_PWT BIT(3)
#define PTE_PCD BIT(4)
#define PTE_A   BIT(5)
#define PTE_D   BIT(6)
#define PTE_PS  BIT(7)
#define PTE_G   BIT(8)
#define PTE_NX  BIT(63)

/* Page-fault error code, SDM 3A 4.7. */
#define PF_PRESENT     BIT(0)
#define PF_WRITE       BIT(1)
#define PF_USER        BIT(2)
#define PF_RESERVED    BIT(3)
#define PF_INSTRUCTION BIT(4)

/* Exceptions, SDM 3A 6.3.1. */
enum x86_vector {
	X86_DE = 0,
	X86_DB = 1,
	X86_NMI = 2,
	X86_BP = 3,
	X86_OF = 4,
	X86_BR = 5,
	X86_UD = 6,
	X86_NM = 7,
	X86_DF = 8,
	X86_TS = 10,
	X86_NP = 11,
	X86_SS_FAULT = 12,
	X86_GP = 13,
	X86_PF = 14,
	X86_MF = 16,
	X86_AC = 17,
	X86_MC = 18,
	X86_XM = 19
};

/*
 * Segment attributes as cpu_state keeps them: the descriptor's bytes 5 and 6 without the limit,
 * that is VMX's access-rights format (SDM 3C 25.4.1).
 */
#define SEG_TYPE     BITS(3, 0)
#define SEG_S        BIT(4) /* code or data; clear: system */
#define SEG_DPL      BITS(6, 5)
#define SEG_P        BIT(7)
#define SEG_AVL      BIT(12)
#define SEG_L        BIT(13)
#define SEG_DB       BIT(14)
#define SEG_G        BIT(15)
#define SEG_UNUSABLE BIT(16)
/* Bits of SEG_TYPE for code and data segments. */
#define SEG_TYPE_ACCESSED    BIT(0)
#define SEG_TYPE_WRITABLE    BIT(1) /* data */
#define SEG_TYPE_READABLE    BIT(1) /* code */
#define SEG_TYPE_EXPAND_DOWN BIT(2) /* data */
#define SEG_TYPE_CONFORMING  BIT(2) /* code */
#define SEG_TYPE_CODE        BIT(3)
/* System types, SDM 3A table 3-2. */
#define SEG_TYPE_TSS16_FREE 1
#define SEG_TYPE_LDT        2
#define SEG_TYPE_TSS16_BUSY 3
#define SEG_TYPE_CALL16     4
#define SEG_TYPE_TASK_GATE  5
#define SEG_TYPE_INT16      6
#define SEG_TYPE_TRAP16     7
#define SEG_TYPE_TSS_FREE   9 /* 32-bit, and 64-bit in long mode */
#define SEG_TYPE_TSS_BUSY   11
#define SEG_TYPE_CALL       12
#define SEG_TYPE_INT        14
#define SEG_TYPE_TRAP       15

/* Model-specific registers, SDM 4 and AMD APM 2 appendix A. */
#define MSR_IA32_TSC               0x10
#define MSR_IA32_PLATFORM_ID       0x17
#define MSR_IA32_APIC_BASE         0x1b
#define MSR_IA32_FEATURE_CONTROL   0x3a
#define MSR_IA32_TSC_ADJUST        0x3b
#define MSR_IA32_SPEC_CTRL         0x48
#define MSR_IA32_PRED_CMD          0x49
#define MSR_IA32_UCODE_REV         0x8b
#define MSR_IA32_MTRRCAP           0xfe
#define MSR_IA32_ARCH_CAPABILITIES 0x10a
#define MSR_IA32_SYSENTER_CS       0x174
#define MSR_IA32_SYSENTER_ESP      0x175
#define MSR_IA32_SYSENTER_EIP      0x176
#define MSR_IA32_MCG_CAP           0x179
#define MSR_IA32_MCG_STATUS        0x17a
#define MSR_IA32_MCG_CTL           0x17b
#define MSR_IA32_MISC_ENABLE       0x1a0
#define MSR_IA32_DEBUGCTL          0x1d9
#define MSR_IA32_MTRR_PHYSBASE0    0x200
#define MSR_IA32_MTRR_FIX64K       0x250
#define MSR_IA32_PAT               0x277
#define MSR_IA32_MTRR_DEF_TYPE     0x2ff
#define MSR_IA32_MC0_CTL           0x400
#define MSR_IA32_TSC_DEADLINE      0x6e0
#define MSR_IA32_X2APIC_FIRST      0x800
#define MSR_IA32_X2APIC_LAST       0x8ff
#define MSR_IA32_XSS               0xda0
#define MSR_EFER                   0xc0000080
#define MSR_STAR                   0xc0000081
#define MSR_LSTAR                  0xc0000082
#define MSR_CSTAR                  0xc0000083
#define MSR_SFMASK                 0xc0000084
#define MSR_FS_BASE                0xc0000100
#define MSR_GS_BASE                0xc0000101
#define MSR_KERNEL_GS_BASE         0xc0000102
#define MSR_TSC_AUX                0xc0000103
/* KVM's paravirtual registers, Linux Documentation/virt/kvm/x86/msr.rst. */
#define MSR_KVM_WALL_CLOCK_OLD  0x11
#define MSR_KVM_SYSTEM_TIME_OLD 0x12
#define MSR_KVM_WALL_CLOCK      0x4b564d00
#define MSR_KVM_SYSTEM_TIME     0x4b564d01
#define MSR_KVM_PV_EOI_EN       0x4b564d04
#define MSR_KVM_POLL_CONTROL    0x4b564d05

/* Local APIC base register, SDM 3A 11.4.4. */
#define APIC_BASE_BSP     BIT(8)
#define APIC_BASE_X2APIC  BIT(10)
#define APIC_BASE_ENABLE  BIT(11)
#define APIC_BASE_ADDRESS BITS(51, 12)
#define APIC_DEFAULT_BASE 0xfee00000

static inline bool x86_is_canonical(uint64_t address)
{
	return (uint64_t)((int64_t)(address << 16) >> 16) == address;
}

#endif
