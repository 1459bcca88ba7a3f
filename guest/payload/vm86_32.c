/* Virtual-8086 mode: SDM 3A 21.2, 21.3. */
#include "payload.h"

#define CODE_SEGMENT  0x0700 /* linear 0x7000 */
#define DATA_SEGMENT  0x0800
#define STACK_POINTER 0x0ff0

#define IOPL(n) ((u32)(n) << 12)

/* What IRET to virtual-8086 mode takes. */
struct vm_frame {
	u32 eip, cs, eflags, esp, ss, es, ds, fs, gs;
};

static void __attribute__((naked)) enter_vm(void *frame __attribute__((unused)))
{
	asm("mov 4(%esp), %esi; sub $36, %esp; mov %esp, %edi; mov $9, %ecx; cld; rep movsl; iret");
}

/* Runs code in virtual-8086 mode until an exception. */
static int run(const u8 *code, size_t size, u32 flags)
{
	struct vm_frame frame = { 0x10, CODE_SEGMENT, FLAG_VM | 2 | flags, STACK_POINTER,
		DATA_SEGMENT, 0x1111, DATA_SEGMENT, 0x2222, 0x3333 };

	memcpy((u8 *)(CODE_SEGMENT * 16 + 0x10), code, size);
	return attempt(enter_vm, &frame);
}

#define RUN(flags, ...) run((const u8[]){ __VA_ARGS__ }, sizeof((const u8[]){ __VA_ARGS__ }), flags)

static void entry_and_exit(void)
{
	/* hlt */
	check_trap(RUN(IOPL(3), 0xf4), GP, 0, "HLT");
	check(last_trap.rflags & FLAG_VM, "the frame's EFLAGS has VM");
	check_equal(last_trap.cs, CODE_SEGMENT, "CS");
	check_equal(last_trap.rip, 0x10, "EIP");
	check_equal(last_trap.ss, DATA_SEGMENT, "SS");
	check_equal(last_trap.rsp, STACK_POINTER, "ESP");
	check_equal(last_trap.vm_es, 0x1111, "ES");
	check_equal(last_trap.vm_fs, 0x2222, "FS");
	check_equal(last_trap.vm_gs, 0x3333, "GS");
	check_equal(last_trap.ds, 0, "DS is null inside");
	/* mov ax, 0x900; mov ds, ax; mov word [0x20], 0x4321; hlt */
	RUN(0, 0xb8, 0x00, 0x09, 0x8e, 0xd8, 0xc7, 0x06, 0x20, 0x00, 0x21, 0x43, 0xf4);
	check_equal(*(u16 *)0x9020, 0x4321, "a segment's base is 16 times its selector");
	check_equal(last_trap.vm_ds, 0x900, "DS in the frame");
	/* mov eax, [0x10000] (32-bit address): beyond 64 KiB */
	check_trap(RUN(0, 0x67, 0x66, 0xa1, 0x00, 0x00, 0x01, 0x00, 0xf4), GP, 0,
		"the limit is 64 KiB");
	/* mov ax, [0xffff] */
	check_trap(RUN(0, 0xa1, 0xff, 0xff, 0xf4), GP, 0, "a word across the limit");
	/* a far jump: jmp 0x0701:0x0020 -> linear 0x7030: hlt */
	*(u8 *)0x7030 = 0xf4;
	RUN(0, 0xea, 0x20, 0x00, 0x01, 0x07);
	check_equal(last_trap.cs, 0x0701, "far jump: CS");
	check_equal(last_trap.rip, 0x20, "far jump: EIP");
}

static void sensitive_instructions(void)
{
	static const struct {
		const char *name;
		u8 code[3];
	} rows[] = {
		{ "CLI", { 0xfa, 0xf4 } },
		{ "STI", { 0xfb, 0xf4 } },
		{ "PUSHF", { 0x9c, 0xf4 } },
		{ "POPF", { 0x9d, 0xf4 } },
		{ "INT n", { 0xcd, 0x40, 0xf4 } },
		{ "IRET", { 0xcf } },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++)
		check_trap(run(rows[i].code, 3, IOPL(0)), GP, 0, rows[i].name);
	RUN(IOPL(3), 0xfa, 0xf4);
	check(!(last_trap.rflags & FLAG_IF) && last_trap.rip == 0x11, "CLI with IOPL 3");
	RUN(IOPL(3), 0xfb, 0xf4);
	check(last_trap.rflags & FLAG_IF && last_trap.rip == 0x11, "STI with IOPL 3");
	RUN(IOPL(3), 0x9c, 0xf4);
	check_equal(*(u16 *)(DATA_SEGMENT * 16 + STACK_POINTER - 2) & 0x3000, 0x3000,
		"PUSHF with IOPL 3");
	check_equal(last_trap.rsp, STACK_POINTER - 2, "which pushes a word");
	check_trap(RUN(IOPL(3), 0xcd, 0x40), USER_EXIT, 0, "INT n with IOPL 3, DPL 3");
	check_trap(RUN(IOPL(3), 0xcd, 0x41), GP, 0x41 * 8 + 2, "INT n with IOPL 3, DPL 0");
	check_trap(RUN(0, 0xcc), GP, BP * 8 + 2, "INT3, DPL 0, whatever IOPL");
	/* mov eax, cr0; lgdt; ltr; lldt; lar */
	check_trap(RUN(IOPL(3), 0x0f, 0x20, 0xc0), GP, 0, "MOV from CR0");
	check_trap(RUN(IOPL(3), 0x0f, 0x01, 0x16, 0, 0), GP, 0, "LGDT");
	check_trap(RUN(IOPL(3), 0x0f, 0x00, 0xd8), UD, 0, "LTR is undefined");
	check_trap(RUN(IOPL(3), 0x0f, 0x00, 0xd0), UD, 0, "LLDT is undefined");
	check_trap(RUN(IOPL(3), 0x0f, 0x02, 0xc0), UD, 0, "LAR is undefined");
	check_trap(RUN(IOPL(3), 0x63, 0xc0), UD, 0, "ARPL is undefined");
}

static void flags_of_popf(void)
{
	/* push 0x7202 | IOPL 0; popf; hlt with IOPL 3 */
	RUN(IOPL(3), 0x68, 0xd7, 0x0f, 0x9d, 0xf4);
	check_equal(last_trap.rflags & 0x3000, 0x3000, "POPF leaves IOPL");
	check_equal(last_trap.rflags & FLAG_VM, FLAG_VM, "POPF leaves VM");
	check_equal(last_trap.rflags & 0xcd5, 0xcd5, "POPF sets the others");
	/* iret: ip 0x30, cs 0x701, flags */
	*(u8 *)(0x7010 + 0x30) = 0xf4;
	RUN(IOPL(3), 0x68, 0x02, 0x02, 0x68, 0x01, 0x07, 0x6a, 0x30, 0xcf);
	check_equal(last_trap.cs, 0x701, "IRET with IOPL 3: CS");
	check_equal(last_trap.rip, 0x30, "IRET with IOPL 3: EIP");
	check_equal(last_trap.rflags & (FLAG_VM | 0x3000 | FLAG_IF), FLAG_VM | 0x3000 | FLAG_IF,
		"IRET with IOPL 3: flags");
}

static void ports(void)
{
	/* in al, 0x80 */
	check_trap(RUN(IOPL(3), 0xe4, 0x80, 0xf4), GP, 0, "IN: IOPL does not allow it");
	check_equal(last_trap.rip, 0x10, "it did not happen");
	tss.io_map = offsetof(struct tss32, io);
	memset(tss.io, 0xff, sizeof(tss.io));
	tss.io[0x80 / 8] = 0xfe;
	RUN(0, 0xe4, 0x80, 0xf4);
	check_equal(last_trap.rip, 0x12, "IN: the map allows the port");
	RUN(0, 0xe5, 0x80, 0xf4);
	check_equal(last_trap.rip, 0x10, "a word needs both bits");
	tss.io[0x80 / 8] = 0xfc;
	RUN(0, 0xe5, 0x80, 0xf4);
	check_equal(last_trap.rip, 0x12, "both bits");
	tss.io_map = sizeof(tss);
	check_trap(RUN(0, 0xe4, 0x80, 0xf4), GP, 0, "IN: a map beyond the limit allows nothing");
}

static void extensions(void)
{
	volatile u32 *vector = (volatile u32 *)(0x21 * 4);
	u8 *redirection;

	if (!(cpuid(1, 0).edx & BIT(1))) {
		skip("VME", "not in CPUID");
		return;
	}
	/* The redirection map is the 32 bytes before the I/O map. */
	tss.io_map = offsetof(struct tss32, io) + 32;
	redirection = tss.io;
	memset(tss.io, 0xff, sizeof(tss.io));
	memset(redirection, 0, 32);
	write_cr4(read_cr4() | CR4_VME);
	/* Interrupt 0x21 through the table at 0: 0x0701:0x0050 */
	*vector = 0x07010050;
	*(u8 *)(0x7010 + 0x50) = 0xf4;
	RUN(IOPL(3) | FLAG_IF, 0xcd, 0x21);
	check_equal(last_trap.cs, 0x701, "VME: INT n is redirected, CS");
	check_equal(last_trap.rip, 0x50, "VME: INT n is redirected, EIP");
	check_equal(last_trap.rsp, STACK_POINTER - 6, "VME: three words are pushed");
	check(!(last_trap.rflags & FLAG_IF), "VME: IF is cleared with IOPL 3");
	RUN(FLAG_IF | BIT(19), 0xcd, 0x21);
	check_equal(last_trap.rip, 0x50, "VME: INT n is redirected with IOPL 0");
	check(last_trap.rflags & FLAG_IF, "VME: IF stays with IOPL 0");
	check(!(last_trap.rflags & BIT(19)), "VME: VIF is cleared instead");
	check(*(u16 *)(DATA_SEGMENT * 16 + STACK_POINTER - 2) & FLAG_IF, "VME: pushed IF is VIF");
	redirection[0x21 / 8] = 1 << (0x21 % 8);
	check_trap(RUN(0, 0xcd, 0x21), GP, 0, "VME: a set bit, IOPL 0");
	/* cli; hlt and sti; hlt */
	RUN(BIT(19), 0xfa, 0xf4);
	check(last_trap.rip == 0x11 && !(last_trap.rflags & BIT(19)), "VME: CLI clears VIF");
	RUN(0, 0xfb, 0xf4);
	check(last_trap.rip == 0x11 && last_trap.rflags & BIT(19), "VME: STI sets VIF");
	check_trap(RUN(BIT(20), 0xfb, 0xf4), GP, 0, "VME: STI with VIP");
	RUN(BIT(19), 0x9c, 0xf4);
	check_equal(*(u16 *)(DATA_SEGMENT * 16 + STACK_POINTER - 2) & 0x3200, 0x3200,
		"VME: PUSHF shows VIF as IF and IOPL 3");
	check_trap(RUN(0, 0x66, 0x9c, 0xf4), GP, 0, "VME: PUSHFD with IOPL 0");
	write_cr4(read_cr4() & ~CR4_VME);
	tss.io_map = sizeof(tss);
}

void payload(void)
{
	entry_and_exit();
	sensitive_instructions();
	flags_of_popf();
	ports();
	extensions();
}
