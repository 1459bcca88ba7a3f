/* Hardware task switches: SDM 3A chapter 8. */
#include "payload.h"

enum { OTHER = SEL_FREE, GATE = SEL_FREE + 8, SEG = SEL_FREE + 16, LDT = SEL_FREE + 24 };

#define BUSY BIT(41)

static struct tss32 other;
static u8 other_stack[4096] __attribute__((aligned(16)));

/* What the other task saw. */
static struct {
	word flags, cr0, tr, ldtr, eax, esp;
	u16 link;
	unsigned runs;
} seen;

static void __attribute__((used)) look(word flags, word eax, word esp)
{
	seen.flags = flags;
	seen.eax = eax;
	seen.esp = esp;
	seen.cr0 = read_cr0();
	seen.link = (u16)other.link;
	asm volatile("str %w0; sldt %w1" : "=r"(seen.tr), "=r"(seen.ldtr));
	seen.runs++;
}

/* Runs from the start at its first switch, then after its IRET. */
static void __attribute__((naked, used)) other_task(void)
{
	asm("1: push %esp; push %eax; pushf; call look; add $12, %esp; clts; iret; jmp 1b");
}

static void __attribute__((naked, used)) other_task_jumps_back(void)
{
	asm("1: push %esp; push %eax; pushf; call look; add $12, %esp; clts; ljmp $0x30, $0; jmp "
	    "1b");
}

static void make_other(void (*entry)(void))
{
	memset(&other, 0, sizeof(other));
	other.cr3 = read_cr3();
	other.eip = (u32)entry;
	other.eflags = 2;
	other.eax = 0x12345678;
	other.esp = (u32)other_stack + sizeof(other_stack);
	other.cs = SEL_CODE;
	other.ss = other.ds = other.es = SEL_DATA;
	other.io_map = sizeof(other);
	gdt_set(OTHER, descriptor((u32)&other, sizeof(other) - 1, D_PRESENT | 9));
}

static bool is_busy(unsigned selector)
{
	return gdt[selector >> 3] & BUSY;
}

struct far_pointer {
	u32 offset;
	u16 selector;
} __attribute__((packed));

static void call_task(void *to)
{
	asm volatile("lcall *(%0)" ::"r"(to) : "memory");
	asm volatile("clts");
}

static void jump_task(void *to)
{
	asm volatile("ljmp *(%0)" ::"r"(to) : "memory");
	asm volatile("clts");
}

static int try_call(unsigned selector)
{
	struct far_pointer to = { 0, (u16)selector };

	return attempt(call_task, &to);
}

static int try_jump(unsigned selector)
{
	struct far_pointer to = { 0, (u16)selector };

	return attempt(jump_task, &to);
}

static void calls(void)
{
	make_other(other_task);
	check_trap(try_call(OTHER), NO_TRAP, 0, "CALL of a TSS, and IRET back");
	check_equal(seen.runs, 1, "the task ran");
	check_equal(seen.link, SEL_TSS, "the back link");
	check(seen.flags & FLAG_NT, "NT in the called task");
	check(seen.cr0 & CR0_TS, "CR0.TS");
	check_equal(seen.tr & 0xffff, OTHER, "TR in the task");
	check_equal(seen.eax, 0x12345678, "EAX from the TSS");
	check_equal(seen.esp, (u32)other_stack + sizeof(other_stack), "ESP from the TSS");
	check(!is_busy(OTHER) && is_busy(SEL_TSS), "IRET frees the task");
	check(!(other.eflags & FLAG_NT), "IRET stores NT clear in the task it leaves");
	check(!(read_flags() & FLAG_NT), "NT of the caller");
	check_trap(try_call(OTHER), NO_TRAP, 0, "the task goes on after its IRET");
	check_equal(seen.runs, 2, "it ran again");

	gdt_set(GATE, (u64)OTHER << 16 | (u64)(D_PRESENT | GATE_TASK) << 40);
	check_trap(try_call(GATE), NO_TRAP, 0, "CALL of a task gate");
	check_equal(seen.runs, 3, "it ran through the gate");
}

static void jumps(void)
{
	make_other(other_task_jumps_back);
	seen.runs = 0;
	check_trap(try_jump(OTHER), NO_TRAP, 0, "JMP to a TSS and back");
	check_equal(seen.runs, 1, "the task ran");
	check_equal(seen.link, 0, "JMP writes no back link");
	check(!(seen.flags & FLAG_NT), "JMP sets no NT");
	check(!is_busy(OTHER) && is_busy(SEL_TSS), "JMP frees the old task");
	check_trap(try_jump(OTHER), NO_TRAP, 0, "again");
}

static void interrupts(void)
{
	make_other(other_task);
	seen.runs = 0;
	idt[0x60].low = (u64)OTHER << 16 | (u64)(D_PRESENT | GATE_TASK) << 40;
	asm volatile("sti; int $0x60; clts; cli" ::: "memory");
	check_equal(seen.runs, 1, "a task gate in the IDT");
	check(!(seen.flags & FLAG_IF), "flags are those of the TSS");
	asm volatile("int $0x60; clts" ::: "memory");
	check_equal(seen.runs, 2, "twice");
	idt[0x60].low = 0;
}

u32 error_seen;

static void __attribute__((naked, used)) fault_task(void)
{
	asm("1: pop error_seen; addl $2, tss + 32; clts; iret; jmp 1b");
}

static void fault_through_task(void)
{
	struct idt_entry old = idt[GP];

	/* The faulting MOV of a bad selector has two bytes; the task skips it in our TSS. */
	make_other(fault_task);
	idt[GP].low = (u64)OTHER << 16 | (u64)(D_PRESENT | GATE_TASK) << 40;
	asm volatile("mov %0, %%gs; nop" ::"r"(0x7ff0) : "memory");
	asm volatile("clts");
	idt[GP] = old;
	check_equal(error_seen, 0x7ff0, "a fault's error code is pushed in the new task");
}

static void refusals(void)
{
	make_other(other_task);
	check_trap(try_call(SEL_TSS), GP, SEL_TSS, "CALL of the busy TSS");
	gdt_set(OTHER, descriptor((u32)&other, 0x66, D_PRESENT | 9));
	check_trap(try_call(OTHER), TS, OTHER, "a TSS that is too short");
	gdt_set(OTHER, descriptor((u32)&other, 0x67, 9));
	check_trap(try_call(OTHER), NP, OTHER, "a TSS that is not present");
	gdt_set(OTHER, descriptor((u32)&other, 0x67, D_PRESENT | 9));
	gdt_set(GATE, (u64)OTHER << 16 | (u64)(GATE_TASK) << 40);
	check_trap(try_call(GATE), NP, GATE, "a task gate that is not present");
	gdt_set(GATE, (u64)(OTHER | 4) << 16 | (u64)(D_PRESENT | GATE_TASK) << 40);
	check_trap(try_call(GATE), GP, OTHER | 4, "a task gate to the LDT");
	gdt_set(GATE, (u64)SEL_DATA << 16 | (u64)(D_PRESENT | GATE_TASK) << 40);
	check_trap(try_call(GATE), GP, SEL_DATA, "a task gate to data");
	asm volatile("pushf; orl $0x4000, (%esp); popf");
	tss.link = SEL_DATA;
	check_trap(attempt_iret(0, 0, 0, 0, 0), TS, SEL_DATA, "IRET with NT and a bad back link");
	asm volatile("pushf; andl $~0x4000, (%esp); popf");
}

/* Back to the first task, however the last attempt left it. */
static u16 restore_task(void)
{
	u16 task;

	asm volatile("str %0" : "=m"(task));
	gdt[SEL_TSS >> 3] &= ~BUSY;
	asm volatile("clts; lldt %w0; ltr %w1" ::"r"(0), "r"(SEL_TSS));
	write_flags(2);
	return task;
}

/* Faults after the switch happen in the new task. */
static void fault_in_new_task(int vector, u32 error, const char *name)
{
	check_trap(try_call(OTHER), vector, error, name);
	check_equal(restore_task(), OTHER, "the fault is the new task's");
}

static void bad_new_state(void)
{
	make_other(other_task);
	gdt_set(SEG, descriptor(0, ~0u, D_PRESENT | 9));
	other.ds = SEG;
	fault_in_new_task(TS, SEG, "DS of the new task is a system segment");
	make_other(other_task);
	other.cs = SEL_DATA;
	fault_in_new_task(TS, SEL_DATA, "CS of the new task is data");
	make_other(other_task);
	gdt_set(SEG, descriptor(0, ~0u, (D_DATA | D_32 | D_PAGES) & ~D_PRESENT));
	other.es = SEG;
	fault_in_new_task(NP, SEG, "ES of the new task is not present");
	make_other(other_task);
	other.ldt = SEL_DATA;
	fault_in_new_task(TS, SEL_DATA, "LDT of the new task is data");
}

static void local_table(void)
{
	static u64 table[2];

	make_other(other_task);
	table[1] = descriptor(0, ~0u, D_DATA | D_32 | D_PAGES);
	gdt_set(LDT, descriptor((u32)table, sizeof(table) - 1, D_PRESENT | 2));
	other.ldt = LDT;
	other.fs = 0xc;
	check_trap(try_call(OTHER), NO_TRAP, 0, "a task with an LDT and a segment of it");
	check_equal(seen.ldtr & 0xffff, LDT, "its LDTR");
	asm volatile("sldt %w0" : "=r"(seen.ldtr));
	check_equal(seen.ldtr & 0xffff, tss.ldt, "the caller's LDTR comes back");
}

static void debug_trap(void)
{
	write_dr6(0xffff0ff0);
	make_other(other_task);
	other.trap = 1;
	check_trap(try_call(OTHER), DB, 0, "the T bit");
	check_equal(last_trap.rip, (u32)other_task, "#DB is before the task's first instruction");
	check(last_dr6 & BIT(15), "DR6.BT");
	restore_task();
	write_dr6(0xffff0ff0);
}

struct tss16 {
	u16 link, sp0, ss0, sp1, ss1, sp2, ss2, ip, flags, ax, cx, dx, bx, sp, bp, si, di, es, cs,
		ss, ds, ldt;
};

static struct tss16 *const other16 = (struct tss16 *)0x7100;

static void of_16_bits(void)
{
	/* iretw in the low 64 KiB, reached by a TSS of 16 bits. */
	static const u8 code[] = { 0x0f, 0x06, 0x66, 0xcf }; /* clts; iret */
	u8 *low = (u8 *)0x7000;

	memcpy(low, code, sizeof(code));
	memset(other16, 0, sizeof(*other16));
	other16->ip = 0x7000;
	other16->flags = 2;
	other16->sp = 0x6ff0;
	other16->cs = SEL_CODE;
	other16->ss = other16->ds = other16->es = SEL_DATA;
	gdt_set(OTHER, descriptor((u32)other16, sizeof(*other16) - 1, D_PRESENT | 1));
	check_trap(try_call(OTHER), NO_TRAP, 0, "a 16-bit TSS");
	check_equal(other16->link, SEL_TSS, "its back link");
	check_equal(other16->ip, 0x7004, "its IP after IRET");
	check(!is_busy(OTHER), "it is free again");
	gdt_set(OTHER, descriptor((u32)other16, sizeof(*other16) - 2, D_PRESENT | 1));
	check_trap(try_call(OTHER), TS, OTHER, "a 16-bit TSS that is too short");
}

void payload(void)
{
	calls();
	jumps();
	interrupts();
	fault_through_task();
	refusals();
	local_table();
	of_16_bits();
	debug_trap();
	bad_new_state();
}
