/*
 * The rows of the instruction table, as tools/isa makes them from isa.tbl.
 *
 * The head of isa.tbl explains the notation. A row says everything about an instruction that can be
 * said without executing it: how it is encoded, what it reads and writes, what it needs.
 */
#ifndef ENGINE_SOFT_ISA_H
#define ENGINE_SOFT_ISA_H

#include "base/bits.h"
#include "base/types.h"

struct vcpu;
struct insn;

/* Executes one instruction: see execute.h for the contract. */
typedef void insn_exec(struct vcpu *vcpu, const struct insn *insn);

/* isa_row.attributes */
#define ISA_PRIVILEGED BIT(0) /* CPL 0 only */
#define ISA_ENDS_BLOCK BIT(1) /* may change RIP, mode, or address translation */
#define ISA_LOCKABLE   BIT(2) /* LOCK allowed with a memory destination */
#define ISA_NO_64      BIT(3) /* #UD in 64-bit mode */
#define ISA_ONLY_64    BIT(4) /* only in 64-bit mode */
#define ISA_DEFAULT_64 BIT(5) /* operand size 64 by default in 64-bit mode */
#define ISA_X87        BIT(6) /* x87: #NM by TS and EM, pending #MF first */
#define ISA_VECTOR     BIT(7) /* SSE or AVX state: #NM, CR4.OSFXSR / XCR0 rules */
#define ISA_MMX        BIT(8)
#define ISA_PROTECTED  BIT(9)  /* #UD in real and virtual-8086 mode */
#define ISA_ALIGNED    BIT(10) /* memory operand must be aligned to its size: #GP(0) */
#define ISA_BRANCH     BIT(11)
#define ISA_STRING     BIT(12)
#define ISA_USER       BIT(13) /* fit for the native comparison: no privilege, no I/O, no branch */
#define ISA_FORCED_64  BIT(14) /* operand size 64 in 64-bit mode, whatever 66 says */
#define ISA_NO_WAIT    BIT(15) /* x87 without the check for a pending #MF */
#define ISA_AVX        BIT(16) /* VEX-encoded vector instruction: XCR0's rules, not OSFXSR's */
#define ISA_FALLBACK   BIT(17) /* without the feature, F3 is ignored (LZCNT as BSR) */

/* isa_row.memory: what the instruction does to its ModRM memory operand. */
#define ISA_MEM_READ  BIT(0)
#define ISA_MEM_WRITE BIT(1)
#define ISA_MEM_NONE  0 /* LEA, NOP, INVLPG, prefetches: an address only, or no access */

/* Where an operand is; the letters of SDM 2D A.2.1, and our own where it has none. */
enum isa_operand_kind {
	ISA_NONE,
	ISA_A,     /* far pointer in the instruction */
	ISA_B,     /* general register in VEX.vvvv */
	ISA_C,     /* control register in ModRM.reg */
	ISA_D,     /* debug register in ModRM.reg */
	ISA_E,     /* general register or memory in ModRM.rm */
	ISA_G,     /* general register in ModRM.reg */
	ISA_H,     /* vector register in VEX.vvvv */
	ISA_I,     /* immediate */
	ISA_J,     /* displacement of a branch */
	ISA_L,     /* vector register in the immediate's high four bits */
	ISA_M,     /* memory in ModRM.rm */
	ISA_N,     /* MMX register in ModRM.rm */
	ISA_O,     /* memory at an offset in the instruction */
	ISA_P,     /* MMX register in ModRM.reg */
	ISA_Q,     /* MMX register or memory in ModRM.rm */
	ISA_R,     /* general register in ModRM.rm */
	ISA_S,     /* segment register in ModRM.reg */
	ISA_U,     /* vector register in ModRM.rm */
	ISA_V,     /* vector register in ModRM.reg */
	ISA_W,     /* vector register or memory in ModRM.rm */
	ISA_X,     /* memory at DS:rSI */
	ISA_Y,     /* memory at ES:rDI */
	ISA_Z,     /* general register in the low three bits of the opcode */
	ISA_VSIB,  /* memory at a vector of addresses (gathers) */
	ISA_GPR,   /* the general register `reg` */
	ISA_SREG,  /* the segment register `reg` */
	ISA_XMM0,  /* XMM0, implied */
	ISA_ST0,   /* the x87 stack's top */
	ISA_STI,   /* x87 register in ModRM.rm */
	ISA_ONE,   /* the constant 1 */
	ISA_FLAGS, /* RFLAGS */
};

/* How large it is. Depends on the decoded instruction where a letter does. */
enum isa_size {
	ISA_SIZE_NONE,
	ISA_SIZE_B,      /* byte */
	ISA_SIZE_BS,     /* byte, sign-extended to the operand size */
	ISA_SIZE_W,      /* 2 */
	ISA_SIZE_D,      /* 4 */
	ISA_SIZE_Q,      /* 8 */
	ISA_SIZE_T,      /* 10 */
	ISA_SIZE_DQ,     /* 16 */
	ISA_SIZE_QQ,     /* 32 */
	ISA_SIZE_V,      /* 2, 4 or 8: the operand size */
	ISA_SIZE_Z,      /* 2 or 4: the operand size, but no more than 4 */
	ISA_SIZE_Y,      /* 4, or 8 with W in 64-bit mode */
	ISA_SIZE_N,      /* 4, or 8 in 64-bit mode */
	ISA_SIZE_X,      /* 16 or 32: the vector length */
	ISA_SIZE_X2,     /* a half, */
	ISA_SIZE_X4,     /* a quarter, */
	ISA_SIZE_X8,     /* an eighth of it */
	ISA_SIZE_A,      /* two of the operand size (BOUND) */
	ISA_SIZE_P,      /* far pointer: 2 more than the operand size */
	ISA_SIZE_S,      /* pseudo-descriptor: 6, or 10 in 64-bit mode */
	ISA_SIZE_ENV,    /* x87 environment: 14 or 28 */
	ISA_SIZE_SAVE,   /* x87 state: 94 or 108 */
	ISA_SIZE_FXSAVE, /* 512 */
	ISA_SIZE_XSAVE,  /* as XCR0 and the instruction mask say: memory_bytes is 0 */
};

#define ISA_READ  BIT(0)
#define ISA_WRITE BIT(1)

struct isa_operand {
	uint8_t kind;        /* enum isa_operand_kind */
	uint8_t size;        /* enum isa_size */
	uint8_t memory_size; /* likewise, when it is memory; differs for "Rd/Mb" */
	uint8_t access;      /* ISA_READ, ISA_WRITE; 0: only its address, or not at all */
	uint8_t reg;         /* of ISA_GPR and ISA_SREG */
	bool implied;        /* not in the assembler's notation: <rDX> */
};

#define ISA_MAX_OPERANDS 6

enum isa_map {
	ISA_MAP_1,
	ISA_MAP_0F,
	ISA_MAP_0F38,
	ISA_MAP_0F3A,
	ISA_MAP_VEX_0F,
	ISA_MAP_VEX_0F38,
	ISA_MAP_VEX_0F3A,
	ISA_NR_MAPS
};

/* Which of 66, F3 and F2 belong to the opcode. */
enum isa_prefix {
	ISA_PREFIX_NONE, /* NP: none may be there; VEX.pp 0 */
	ISA_PREFIX_66,
	ISA_PREFIX_F3,
	ISA_PREFIX_F2,
	ISA_PREFIX_NFX, /* neither F2 nor F3; 66 is the operand size */
	ISA_PREFIX_ANY, /* none belongs to it: they mean what they mean */
};

enum isa_modrm {
	ISA_MODRM_ABSENT,
	ISA_MODRM_REGISTER, /* "/r" */
	ISA_MODRM_DIGIT,    /* "/0" to "/7": reg is part of the opcode */
	ISA_MODRM_FIXED,    /* "C0+i": mod 3 and reg are, rm is free */
	ISA_MODRM_BYTE,     /* "D0": the whole byte is */
};

enum isa_mod { ISA_MOD_ANY, ISA_MOD_MEMORY, ISA_MOD_REGISTER };

/* How insn.operand_bytes comes about. */
enum isa_operand_size {
	ISA_OPERAND_V,      /* 2, 4, 8 by mode, 66 and REX.W, and the attributes for 64-bit mode */
	ISA_OPERAND_Z,      /* likewise, but no more than 4 */
	ISA_OPERAND_B,      /* 1 */
	ISA_OPERAND_Y,      /* 4, 8 by W in 64-bit mode */
	ISA_OPERAND_N,      /* 4, in 64-bit mode 8 */
	ISA_OPERAND_MMX,    /* 8 */
	ISA_OPERAND_XMM,    /* 16 */
	ISA_OPERAND_YMM,    /* 32 */
	ISA_OPERAND_VECTOR, /* 16 or 32 by VEX.L */
};

#define ISA_ANY 0xff /* isa_encoding.w, .l: either value */

struct isa_encoding {
	uint8_t map;     /* enum isa_map */
	uint8_t prefix;  /* enum isa_prefix */
	uint8_t opcode;  /* the last byte */
	uint8_t modrm;   /* enum isa_modrm */
	uint8_t reg, rm; /* where ModRM is part of the opcode */
	uint8_t mod;     /* enum isa_mod */
	uint8_t w, l;    /* REX.W or VEX.W, VEX.L: 0, 1, ISA_ANY */
	bool opcode_register;
	bool vvvv; /* VEX.vvvv is an operand */
};

struct isa_row {
	const char *mnemonic; /* lower case, as Zydis and the manuals print it; "cbw/cwde/cdqe": by
			       * operand size 2, 4, 8 (by address size for JCXZ) */
	const char *syntax;   /* as written in isa.tbl: encoding */
	const char *operands; /* and operands */
	struct isa_encoding encoding;
	struct isa_operand operand[ISA_MAX_OPERANDS];
	uint32_t attributes;
	uint8_t operand_size;   /* enum isa_operand_size */
	uint8_t memory;         /* ISA_MEM_* */
	uint8_t memory_size;    /* enum isa_size of the ModRM memory operand */
	uint8_t immediate[2];   /* enum isa_size of up to two, NONE if absent */
	uint8_t feature;        /* enum cpu_feature, CPU_NR_FEATURES for none */
	uint8_t reg_kind;       /* enum isa_operand_kind of what ModRM.reg, the opcode's low bits */
	uint8_t rm_kind;        /* or ModRM.rm name */
	bool reg_byte, rm_byte; /* ... a byte of a general register */
	uint16_t flags_read;    /* RFLAGS_ARITHMETIC bits, and DF */
	uint16_t flags_written; /* set, cleared or changed, the undefined ones included */
	uint16_t flags_undefined;
	/* By isa_exec_index. All eight are the same for a function without variants. */
	insn_exec *exec[8];
};

extern const struct isa_row isa_rows[];
extern const unsigned isa_nr_rows;

/* Variants _b_r, _b_m, _w_r, _w_m, _l_r, _l_m, _q_r, _q_m of a function. */
static inline unsigned isa_exec_index(unsigned operand_bytes, bool has_memory)
{
	unsigned log2 = operand_bytes >= 8 ? 3 : operand_bytes >> 1;

	return 2 * log2 + has_memory;
}

/*
 * The decoder's lookup: isa_opcodes[map][prefix][opcode] is 0 (#UD), a row's number plus 1, or
 * ISA_NODE plus the position of a node in isa_nodes: a selector followed by one such value for each
 * of its outcomes.
 */
#define ISA_NODE 0x8000

enum isa_selector {
	ISA_BY_MODE,  /* 0: not 64-bit, 1: 64-bit */
	ISA_BY_MOD,   /* 0: memory, 1: register */
	ISA_BY_REG,   /* ModRM.reg, 8 */
	ISA_BY_RM,    /* ModRM.rm, 8 */
	ISA_BY_W,     /* 2 */
	ISA_BY_L,     /* 2 */
	ISA_BY_REX_B, /* 2 */
};

extern const uint16_t isa_opcodes[ISA_NR_MAPS][4][256];
extern const uint16_t isa_nodes[];

/* What rows without a function of their own point to: raises #UD. */
insn_exec exec_undefined;

#endif
