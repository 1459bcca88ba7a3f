/*
 * The world of a guest payload: a small kernel that checks one topic of the processor or the board
 * and reports on COM1, one line for each check:
 *
 *	ok NAME
 *	not ok NAME: got X, expected Y
 *	skip NAME: REASON
 *	end N		the number of lines above; a payload that did not get here failed
 *
 * It is entered by multiboot, built for 32-bit protected mode or for long mode, and ends through
 * isa-debug-exit at port 0x501 with 0 if nothing failed, else 1. Expected values are those of the
 * SDM. Memory: code and data from 2 MiB, what ring 3 may touch from 4 MiB, free pages from 6 MiB to
 * 14 MiB, all mapped one to one (32-bit payloads run without paging until they turn it on).
 */
#ifndef PAYLOAD_H
#define PAYLOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef uintptr_t word; /* a register */

#define BIT(n)        (1ull << (n))
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define PAGE_SIZE     4096ull

/* The payload's own part. */
void payload(void);

/* report.c */
void print(const char *format, ...) __attribute__((format(printf, 1, 2)));
void ok(const char *name);
void check(bool condition, const char *name);
void check_equal(u64 got, u64 expected, const char *name);
void skip(const char *name, const char *reason);
void end_report(void); /* the last line, for payloads that end by themselves */
void finish(void) __attribute__((noreturn));

/* What interrupted: pushed by the processor and by trap.S. */
struct trap {
#ifdef __x86_64__
	word r15, r14, r13, r12, r11, r10, r9, r8;
	word rdi, rsi, rbp, rbx, rdx, rcx, rax;
#else
	word gs, fs, es, ds;
	word rdi, rsi, rbp, unused, rbx, rdx, rcx, rax;
#endif
	word vector, error;
	word rip, cs, rflags;
	word rsp, ss; /* in 32-bit mode only from an outer ring */
#ifndef __x86_64__
	word vm_es, vm_ds, vm_fs, vm_gs; /* only from virtual-8086 mode */
#endif
};

/* trap.c */
enum {
	DE = 0,
	DB = 1,
	NMI = 2,
	BP = 3,
	OF = 4,
	BR = 5,
	UD = 6,
	NM = 7,
	DF = 8,
	TS = 10,
	NP = 11,
	SS = 12,
	GP = 13,
	PF = 14,
	MF = 16,
	AC = 17,
	XM = 19,
	NO_TRAP = -1,
	USER_EXIT = 0x40, /* int $0x40 leaves ring 3 */
};

extern struct trap last_trap; /* what ended the last attempt */
extern word last_cr2, last_dr6;

/*
 * Calls function(argument); an exception in it ends it. Returns the vector, or NO_TRAP. Can be
 * nested. Interrupts and exceptions with a hook go to the hook instead.
 */
int attempt(void (*function)(void *), void *argument);
/* The same in ring 3; function returns through USER_EXIT, or traps. It must be USER_CODE. */
int attempt_user(void (*function)(void *), void *argument);
/* Any entry by IRET: to other rings, modes and segments. */
int attempt_iret(word cs, word rip, word rflags, word ss, word rsp);

#define USER_CODE __attribute__((section(".user.text"), noinline, used))
#define USER_DATA __attribute__((section(".user.data")))

/* Code at `label` in ring 3 that ends an attempt. */
#define user_exit() asm volatile("int $0x40" ::: "memory")

typedef void trap_hook(struct trap *trap);
void set_hook(int vector, trap_hook *hook); /* NULL removes it */

void check_trap(int got, int vector, word error, const char *name);
void check_page_fault(int got, word error, word address, const char *name);

/* Descriptors. Selectors of the GDT; from SEL_FREE on it belongs to the payload. */
enum {
	SEL_CODE = 0x08,
	SEL_DATA = 0x10,
	SEL_USER_CODE32 = 0x18 | 3,
	SEL_USER_DATA = 0x20 | 3,
	SEL_USER_CODE64 = 0x28 | 3,
	SEL_TSS = 0x30, /* two entries in long mode */
	SEL_CODE32 = 0x40,
	SEL_FREE = 0x48,
	GDT_ENTRIES = 64,
#ifdef __x86_64__
	SEL_USER_CODE = SEL_USER_CODE64,
#else
	SEL_USER_CODE = SEL_USER_CODE32,
#endif
};

extern u64 gdt[GDT_ENTRIES];
void load_segments(void); /* the GDT, and every segment register but TR; for each processor */

/* Attributes as in bits 40 to 55 of a descriptor (limit bits left out). */
#define D_TYPE(t)    ((u32)(t))
#define D_CODE_DATA  0x10
#define D_DPL(n)     ((u32)(n) << 5)
#define D_PRESENT    0x80
#define D_LONG       0x2000
#define D_32         0x4000
#define D_PAGES      0x8000
#define D_DATA       (D_PRESENT | D_CODE_DATA | 3) /* writable, accessed */
#define D_DATA_RO    (D_PRESENT | D_CODE_DATA | 1)
#define D_CODE       (D_PRESENT | D_CODE_DATA | 11) /* readable, accessed */
#define D_CODE_XO    (D_PRESENT | D_CODE_DATA | 9)  /* execute only */
#define D_CONFORMING 4
#define D_DOWN       4

u64 descriptor(u32 base, u32 limit, u32 attributes);
/* Puts a descriptor into the GDT; returns its selector with `rpl`. */
u16 gdt_set(unsigned selector, u64 value);

/* Gates of the IDT. */
enum { GATE_TASK = 5, GATE_CALL = 12, GATE_INT = 14, GATE_TRAP = 15 };

#ifdef __x86_64__
struct idt_entry {
	u64 low, high;
};
#else
struct idt_entry {
	u64 low;
};
#endif
extern struct idt_entry idt[256];
void idt_set(int vector, word address, u16 selector, u32 type, u32 dpl, u32 ist);
extern char trap_stubs[]; /* 16 bytes for each vector */
/* Loads a limit of `vectors` whole vectors; 256 restores the normal one. */
void idt_load(unsigned vectors);

/* The task state segment in use. */
struct tss32 {
	u32 link, esp0, ss0, esp1, ss1, esp2, ss2, cr3, eip, eflags;
	u32 eax, ecx, edx, ebx, esp, ebp, esi, edi;
	u32 es, cs, ss, ds, fs, gs, ldt;
	u16 trap, io_map;
	u8 io[8193 + 32];
} __attribute__((packed));
struct tss64 {
	u32 reserved0;
	u64 rsp[3];
	u64 reserved1;
	u64 ist[7];
	u64 reserved2;
	u16 reserved3, io_map;
	u8 io[8193];
} __attribute__((packed));
#ifdef __x86_64__
extern struct tss64 tss;
#else
extern struct tss32 tss;
#endif
#define TRAP_STACK_SIZE 16384
extern u8 trap_stack[TRAP_STACK_SIZE];
extern u8 user_stack[TRAP_STACK_SIZE];
extern u8 ist_stack[TRAP_STACK_SIZE];

/* pages.c: page tables of the mode in use; 64-bit entries except in 32-bit two-level paging. */
#define PTE_P   BIT(0)
#define PTE_W   BIT(1)
#define PTE_U   BIT(2)
#define PTE_PCD BIT(4)
#define PTE_A   BIT(5)
#define PTE_D   BIT(6)
#define PTE_PS  BIT(7)
#define PTE_G   BIT(8)
#define PTE_NX  BIT(63)

#define PF_P BIT(0)
#define PF_W BIT(1)
#define PF_U BIT(2)
#define PF_R BIT(3)
#define PF_I BIT(4)

void *page_alloc(void); /* a zeroed page, physical is virtual */

/* cpu.h's worth of instructions */
static inline void outb(u16 port, u8 value)
{
	asm volatile("outb %0, %1" ::"a"(value), "Nd"(port) : "memory");
}

static inline void outw(u16 port, u16 value)
{
	asm volatile("outw %0, %1" ::"a"(value), "Nd"(port) : "memory");
}

static inline void outl(u16 port, u32 value)
{
	asm volatile("outl %0, %1" ::"a"(value), "Nd"(port) : "memory");
}

static inline u8 inb(u16 port)
{
	u8 value;

	asm volatile("inb %1, %0" : "=a"(value) : "Nd"(port) : "memory");
	return value;
}

static inline u16 inw(u16 port)
{
	u16 value;

	asm volatile("inw %1, %0" : "=a"(value) : "Nd"(port) : "memory");
	return value;
}

static inline u32 inl(u16 port)
{
	u32 value;

	asm volatile("inl %1, %0" : "=a"(value) : "Nd"(port) : "memory");
	return value;
}

#define CONTROL_REGISTER(name)                                                                     \
	static inline word read_##name(void)                                                       \
	{                                                                                          \
		word value;                                                                        \
                                                                                                   \
		asm volatile("mov %%" #name ", %0" : "=r"(value)::"memory");                       \
		return value;                                                                      \
	}                                                                                          \
	static inline void write_##name(word value)                                                \
	{                                                                                          \
		asm volatile("mov %0, %%" #name ::"r"(value) : "memory");                          \
	}
CONTROL_REGISTER(cr0)
CONTROL_REGISTER(cr2)
CONTROL_REGISTER(cr3)
CONTROL_REGISTER(cr4)
CONTROL_REGISTER(dr0)
CONTROL_REGISTER(dr1)
CONTROL_REGISTER(dr2)
CONTROL_REGISTER(dr3)
CONTROL_REGISTER(dr6)
CONTROL_REGISTER(dr7)

#define CR0_PE     BIT(0)
#define CR0_MP     BIT(1)
#define CR0_EM     BIT(2)
#define CR0_TS     BIT(3)
#define CR0_NE     BIT(5)
#define CR0_WP     BIT(16)
#define CR0_AM     BIT(18)
#define CR0_PG     BIT(31)
#define CR4_VME    BIT(0)
#define CR4_TSD    BIT(2)
#define CR4_DE     BIT(3)
#define CR4_PSE    BIT(4)
#define CR4_PAE    BIT(5)
#define CR4_PGE    BIT(7)
#define CR4_OSFXSR BIT(9)
#define CR4_OSXMM  BIT(10)
#define CR4_UMIP   BIT(11)
#define CR4_FSGS   BIT(16)
#define CR4_PCIDE  BIT(17)
#define CR4_XSAVE  BIT(18)
#define CR4_SMEP   BIT(20)
#define CR4_SMAP   BIT(21)

#define FLAG_CF 0x1
#define FLAG_ZF 0x40
#define FLAG_TF 0x100
#define FLAG_IF 0x200
#define FLAG_DF 0x400
#define FLAG_NT 0x4000
#define FLAG_RF 0x10000
#define FLAG_VM 0x20000
#define FLAG_AC 0x40000

static inline word read_flags(void)
{
	word value;

	asm volatile("pushf; pop %0" : "=r"(value)::"memory");
	return value;
}

static inline void write_flags(word value)
{
	asm volatile("push %0; popf" ::"r"(value) : "memory", "cc");
}

static inline u64 rdmsr(u32 index)
{
	u32 low, high;

	asm volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(index) : "memory");
	return (u64)high << 32 | low;
}

static inline void wrmsr(u32 index, u64 value)
{
	asm volatile("wrmsr" ::"c"(index), "a"((u32)value), "d"((u32)(value >> 32)) : "memory");
}

#define MSR_TSC          0x10
#define MSR_APIC_BASE    0x1b
#define MSR_SYSENTER_CS  0x174
#define MSR_SYSENTER_ESP 0x175
#define MSR_SYSENTER_EIP 0x176
#define MSR_DEADLINE     0x6e0
#define MSR_EFER         0xc0000080
#define MSR_STAR         0xc0000081
#define MSR_LSTAR        0xc0000082
#define MSR_CSTAR        0xc0000083
#define MSR_SFMASK       0xc0000084
#define MSR_FS_BASE      0xc0000100
#define MSR_GS_BASE      0xc0000101
#define MSR_KERNEL_GS    0xc0000102
#define EFER_SCE         BIT(0)
#define EFER_LME         BIT(8)
#define EFER_LMA         BIT(10)
#define EFER_NXE         BIT(11)

struct cpuid {
	u32 eax, ebx, ecx, edx;
};

static inline struct cpuid cpuid(u32 leaf, u32 subleaf)
{
	struct cpuid out;

	asm volatile("cpuid"
		     : "=a"(out.eax), "=b"(out.ebx), "=c"(out.ecx), "=d"(out.edx)
		     : "a"(leaf), "c"(subleaf));
	return out;
}

static inline u64 rdtsc(void)
{
	u32 low, high;

	asm volatile("rdtsc" : "=a"(low), "=d"(high)::"memory");
	return (u64)high << 32 | low;
}

static inline void invlpg(const void *address)
{
	asm volatile("invlpg (%0)" ::"r"(address) : "memory");
}

static inline void barrier(void)
{
	asm volatile("" ::: "memory");
}

static inline void pause(void)
{
	asm volatile("pause" ::: "memory");
}

/* Lets interrupts in for a moment. */
static inline void open_interrupts(void)
{
	asm volatile("sti; nop; nop; cli" ::: "memory");
}

void *memset(void *to, int value, size_t size);
void *memcpy(void *to, const void *from, size_t size);
int memcmp(const void *a, const void *b, size_t size);

#endif
