/* What becomes of an exception during the delivery of another: SDM 3A table 6-5. */
#include "payload.h"

/* A gate of each kind that raises what the row wants when it is used. */
static void gate_not_present(int vector)
{
	idt[vector].low &= ~BIT(47);
}

/* A code segment in a page that is not there: the stack of IST 2. */
static void gate_page_fault(int vector)
{
	tss.ist[1] = 0x8000001000;
	idt_set(vector, (word)trap_stubs + 16 * (word)vector, SEL_CODE, GATE_INT, 0, 2);
}

static void gate_normal(int vector)
{
	idt_set(vector, (word)trap_stubs + 16 * (word)vector, SEL_CODE, GATE_INT, 0,
		vector == DF ? 1 : 0);
}

static void divide(void *unused)
{
	(void)unused;
	asm volatile("xor %%edx, %%edx; xor %%ecx, %%ecx; div %%ecx" ::: "eax", "ecx", "edx");
}

static void undefined(void *unused)
{
	(void)unused;
	asm volatile("ud2");
}

static void protection(void *unused)
{
	(void)unused;
	(void)*(volatile u32 *)0x800000000000;
}

static void page(void *unused)
{
	(void)unused;
	(void)*(volatile u32 *)0x8000000000;
}

static void breakpoint(void *unused)
{
	(void)unused;
	asm volatile("int3");
}

static void software(void *unused)
{
	(void)unused;
	asm volatile("int $13");
}

#define IDT_ERROR(vector, external) ((vector)*8 + 2 + (external))

void payload(void)
{
	gate_normal(DF);

	gate_not_present(DE);
	check_trap(attempt(divide, NULL), DF, 0, "#DE, then #NP: a double fault");
	gate_page_fault(DE);
	check_trap(attempt(divide, NULL), PF, PF_W, "#DE, then #PF: #PF");
	gate_normal(DE);
	check_trap(attempt(divide, NULL), DE, 0, "#DE alone");

	gate_not_present(GP);
	check_trap(attempt(protection, NULL), DF, 0, "#GP, then #NP: a double fault");
	gate_page_fault(GP);
	check_trap(attempt(protection, NULL), PF, PF_W, "#GP, then #PF: #PF");
	gate_normal(GP);

	gate_not_present(PF);
	check_trap(attempt(page, NULL), DF, 0, "#PF, then #NP: a double fault");
	gate_page_fault(PF);
	check_trap(attempt(page, NULL), DF, 0, "#PF, then #PF: a double fault");
	gate_normal(PF);
	check_trap(attempt(page, NULL), PF, 0, "#PF alone");

	gate_not_present(UD);
	check_trap(attempt(undefined, NULL), NP, IDT_ERROR(UD, 1), "#UD, then #NP: #NP");
	gate_page_fault(UD);
	check_trap(attempt(undefined, NULL), PF, PF_W, "#UD, then #PF: #PF");
	gate_normal(UD);

	gate_not_present(BP);
	check_trap(attempt(breakpoint, NULL), NP, IDT_ERROR(BP, 0), "INT3, then #NP: #NP");
	gate_page_fault(BP);
	check_trap(attempt(breakpoint, NULL), PF, PF_W, "INT3, then #PF: #PF");
	gate_normal(BP);

	gate_not_present(GP);
	check_trap(attempt(software, NULL), NP, IDT_ERROR(GP, 0), "INT 13, then #NP: #NP");
	gate_normal(GP);
}
