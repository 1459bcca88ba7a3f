/* Descriptor tables, and what happens at an exception. */
#include "payload.h"

struct table_pointer {
	u16 limit;
	word base;
} __attribute__((packed));

struct iret_frame {
	word rip, cs, rflags, rsp, ss;
};

u64 gdt[GDT_ENTRIES] __attribute__((aligned(16)));
struct idt_entry idt[256] __attribute__((aligned(16)));
#ifdef __x86_64__
struct tss64 tss __attribute__((aligned(4096)));
#else
struct tss32 tss __attribute__((aligned(4096)));
#endif
u8 trap_stack[TRAP_STACK_SIZE] __attribute__((aligned(16)));
u8 ist_stack[TRAP_STACK_SIZE] __attribute__((aligned(16)));
u8 user_stack[TRAP_STACK_SIZE] USER_DATA __attribute__((aligned(16)));

struct trap last_trap;
word last_cr2, last_dr6;
static trap_hook *hooks[256];

extern word attempt_stack;
void attempt_resume(int vector) __attribute__((noreturn));
void iret_to(const struct iret_frame *frame, void *argument) __attribute__((noreturn));
void trap_enter(struct trap *trap);
void payload_main(void);

u64 descriptor(u32 base, u32 limit, u32 attributes)
{
	if (attributes & D_PAGES)
		limit >>= 12;
	return (limit & 0xffff) | (u64)(base & 0xffffff) << 16 | (u64)(attributes & 0xf0ff) << 40 |
	       (u64)(limit >> 16 & 0xf) << 48 | (u64)(base >> 24) << 56;
}

u16 gdt_set(unsigned selector, u64 value)
{
	gdt[selector >> 3] = value;
	barrier();
	return (u16)selector;
}

void idt_set(int vector, word address, u16 selector, u32 type, u32 dpl, u32 ist)
{
	struct idt_entry *entry = &idt[vector];

	entry->low = (address & 0xffff) | (u64)selector << 16 | (u64)ist << 32 |
		     (u64)(type | dpl << 5 | 0x80) << 40 | (u64)(address >> 16 & 0xffff) << 48;
#ifdef __x86_64__
	entry->high = address >> 32;
#endif
	barrier();
}

void idt_load(unsigned vectors)
{
	struct table_pointer pointer = { (u16)(vectors * sizeof(idt[0]) - 1), (word)idt };

	asm volatile("lidt %0" ::"m"(pointer) : "memory");
}

void set_hook(int vector, trap_hook *hook)
{
	hooks[vector] = hook;
	barrier();
}

void trap_enter(struct trap *trap)
{
	if (hooks[trap->vector]) {
		hooks[trap->vector](trap);
		return;
	}
	/* Without an outer stack a 32-bit frame is shorter; reading on is harmless. */
	last_trap = *trap;
	last_cr2 = read_cr2();
	last_dr6 = read_dr6();
	if (attempt_stack)
		attempt_resume((int)trap->vector);
	print("not ok unexpected exception %u error %llx at %llx cr2 %llx\n", (u32)trap->vector,
		(unsigned long long)trap->error, (unsigned long long)trap->rip,
		(unsigned long long)last_cr2);
	check(false, "the payload runs to its end");
	finish();
}

struct iret_call {
	struct iret_frame frame;
	void *argument;
};

static void do_iret(void *call_)
{
	struct iret_call *call = call_;

	iret_to(&call->frame, call->argument);
}

int attempt_iret(word cs, word rip, word rflags, word ss, word rsp)
{
	struct iret_call call = { { rip, cs, rflags | 2, rsp, ss }, NULL };

	return attempt(do_iret, &call);
}

int attempt_user(void (*function)(void *), void *argument)
{
	word *top = (word *)(user_stack + sizeof(user_stack));
	struct iret_call call;
	bool protected = read_cr4() & CR4_SMAP;

	/* A return address that traps, then the argument of 32-bit code. */
	if (protected)
		asm volatile("stac" ::: "memory");
	*--top = (word)argument;
	*--top = 0;
	if (protected)
		asm volatile("clac" ::: "memory");
	call = (struct iret_call){ { (word)function, SEL_USER_CODE, 2, (word)top, SEL_USER_DATA },
		argument };
	return attempt(do_iret, &call);
}

void load_segments(void)
{
	struct table_pointer pointer = { sizeof(gdt) - 1, (word)gdt };

	asm volatile("lgdt %0" ::"m"(pointer) : "memory");
#ifdef __x86_64__
	asm volatile("pushq %0; lea 1f(%%rip), %%rax; push %%rax; lretq; 1:" ::"i"(SEL_CODE)
		     : "rax", "memory");
#else
	asm volatile("ljmp %0, $1f; 1:" ::"i"(SEL_CODE) : "memory");
#endif
	asm volatile("mov %0, %%ds; mov %0, %%es; mov %0, %%ss" ::"r"(SEL_DATA) : "memory");
	asm volatile("mov %0, %%fs; mov %0, %%gs" ::"r"(0) : "memory");
}

static void load_tables(void)
{
	u64 *entry = &gdt[SEL_TSS >> 3];

#ifdef __x86_64__
	gdt[SEL_CODE >> 3] = descriptor(0, ~0u, D_CODE | D_LONG | D_PAGES);
	tss.rsp[0] = (word)trap_stack + sizeof(trap_stack);
	tss.ist[0] = (word)ist_stack + sizeof(ist_stack);
	entry[1] = (u64)(word)&tss >> 32;
#else
	gdt[SEL_CODE >> 3] = descriptor(0, ~0u, D_CODE | D_32 | D_PAGES);
	tss.esp0 = (word)trap_stack + sizeof(trap_stack);
	tss.ss0 = SEL_DATA;
#endif
	tss.io_map = sizeof(tss);
	entry[0] = descriptor((u32)(word)&tss, sizeof(tss) - 1, D_PRESENT | 9);
	gdt[SEL_DATA >> 3] = descriptor(0, ~0u, D_DATA | D_32 | D_PAGES);
	gdt[SEL_USER_CODE32 >> 3] = descriptor(0, ~0u, D_CODE | D_DPL(3) | D_32 | D_PAGES);
	gdt[SEL_USER_DATA >> 3] = descriptor(0, ~0u, D_DATA | D_DPL(3) | D_32 | D_PAGES);
	gdt[SEL_USER_CODE64 >> 3] = descriptor(0, ~0u, D_CODE | D_DPL(3) | D_LONG | D_PAGES);
	gdt[SEL_CODE32 >> 3] = descriptor(0, ~0u, D_CODE | D_32 | D_PAGES);

	load_segments();
	asm volatile("ltr %w0" ::"r"(SEL_TSS) : "memory");
}

void payload_main(void)
{
	for (int i = 0; i < 256; i++)
		idt_set(i, (word)trap_stubs + 16 * (word)i, SEL_CODE, GATE_INT,
			i == USER_EXIT ? 3 : 0, 0);
	load_tables();
	idt_load(256);
	/* Every ISA interrupt is masked until a payload wants it. */
	outb(0x21, 0xff);
	outb(0xa1, 0xff);
	payload();
	finish();
}
