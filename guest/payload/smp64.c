/* Two processors: start, interprocessor interrupts, atomicity, code and tables that change. */
#include "apic.h"

static volatile unsigned here, there, nmis;
static volatile bool stop;
static volatile unsigned ready;

static u32 my_id(void)
{
	return apic_read(APIC_ID) >> 24;
}

static void count_interrupt(struct trap *trap)
{
	(void)trap;
	if (my_id() == 0)
		here++;
	else
		there++;
	apic_eoi();
}

static void count_nmi(struct trap *trap)
{
	(void)trap;
	nmis++;
}

static volatile struct {
	u32 id;
	u64 base;
	u64 cr0;
	u64 efer;
} other;

static void look(void *unused)
{
	(void)unused;
	other.id = my_id();
	other.base = rdmsr(MSR_APIC_BASE);
	other.cr0 = read_cr0();
	other.efer = rdmsr(MSR_EFER);
}

/* Halts with interrupts on until told to stop. */
static void listen(void *logical)
{
	apic_write(APIC_DFR, 0xffffffff);
	apic_write(APIC_LDR, (u32)(word)logical << 24);
	ready = 1;
	while (!stop)
		asm volatile("sti; hlt; cli" ::: "memory");
}

static void tell_to_stop(void)
{
	stop = true;
	apic_send(1, ICR_ASSERT | 0x50);
	check(smp_wait(1000), "it stops");
	stop = false;
}

static void interrupts(void)
{
	set_hook(0x50, count_interrupt);
	apic_write(APIC_DFR, 0xffffffff);
	apic_write(APIC_LDR, 1u << 24);
	smp_run(listen, (void *)2);
	check(poll_count(&ready, 1, 1000), "it listens");
	apic_send(1, ICR_ASSERT | 0x50);
	check(poll_count(&there, 1, 1000), "to one, by its id");
	apic_send(2, ICR_LOGICAL | ICR_ASSERT | 0x50);
	check(poll_count(&there, 2, 1000), "to one, by its logical id");
	check_equal(here, 0, "none came here");
	apic_send(0, ICR_OTHERS | ICR_ASSERT | 0x50);
	check(poll_count(&there, 3, 1000), "to all others");
	apic_send(0, ICR_ALL | ICR_ASSERT | 0x50);
	check(wait_count(&here, 1, 1000) && poll_count(&there, 4, 1000), "to all");
	apic_send(3, ICR_LOGICAL | ICR_ASSERT | 0x50);
	check(wait_count(&here, 2, 1000) && poll_count(&there, 5, 1000), "to two, by logical ids");
	apic_send(0xff, ICR_ASSERT | 0x50);
	check(wait_count(&here, 3, 1000) && poll_count(&there, 6, 1000), "broadcast");
	apic_send(3, ICR_LOGICAL | ICR_LOWEST | ICR_ASSERT | 0x50);
	delay_us(5000);
	open_interrupts();
	poll_count(&there, 7, 100);
	check_equal(here + there, 10, "lowest priority: to one of two");
	set_hook(NMI, count_nmi);
	apic_send(1, ICR_NMI | ICR_ASSERT);
	check(poll_count(&nmis, 1, 1000), "an NMI wakes it");
	tell_to_stop();
}

static volatile unsigned spinning;

static void spin(void *unused)
{
	(void)unused;
	for (;;)
		spinning++;
}

static void init(void)
{
	unsigned at = 0;

	smp_run(spin, NULL);
	check(poll_count(&spinning, 1, 1000), "it runs");
	apic_send(1, ICR_INIT | ICR_ASSERT);
	/* Where the host does not let it run, it does not get to stop either. */
	for (int i = 0; i < 100; i++) {
		at = spinning;
		delay_us(20000);
		if (spinning == at)
			break;
	}
	check_equal(spinning, at, "INIT stops it, whatever it does");
	check(smp_start(), "SIPI starts it again");
	smp_run(look, NULL);
	check(smp_wait(1000), "and it works");
}

#define ROUNDS 20000
static volatile u32 counter, plain_lock;
static volatile u64 wide[2] __attribute__((aligned(16)));

static void add_all(void *unused)
{
	(void)unused;
	for (unsigned i = 0; i < ROUNDS; i++) {
		asm volatile("lock incl %0" : "+m"(counter)::"memory");
		/* A lock by XCHG around an increment that is none. */
		u32 taken = 1;
		do
			asm volatile("xchgl %0, %1" : "+r"(taken), "+m"(plain_lock)::"memory");
		while (taken);
		wide[0]++;
		barrier();
		plain_lock = 0;
	}
}

static void add_wide(void *unused)
{
	(void)unused;
	for (unsigned i = 0; i < ROUNDS; i++) {
		u64 low = wide[0], high = wide[1];
		bool done;

		do
			asm volatile("lock cmpxchg16b %0"
				     : "+m"(wide), "+a"(low), "+d"(high), "=@ccz"(done)
				     : "b"(low + 1), "c"(high + 2)
				     : "memory");
		while (!done);
	}
}

static void atomicity(void)
{
	wide[0] = wide[1] = 0;
	smp_run(add_all, NULL);
	add_all(NULL);
	check(smp_wait(20000), "both have counted");
	check_equal(counter, 2 * ROUNDS, "LOCK INC");
	check_equal(wide[0], 2 * ROUNDS, "a lock by XCHG");
	wide[0] = wide[1] = 0;
	smp_run(add_wide, NULL);
	add_wide(NULL);
	check(smp_wait(20000), "both have counted");
	check(wide[0] == 2 * ROUNDS && wide[1] == 4 * ROUNDS, "LOCK CMPXCHG16B");
}

/* Message passing: stores are seen in order (SDM 3A 9.2.3.2). */
static volatile u64 message[64], flag[64];

static void send_messages(void *unused)
{
	(void)unused;
	for (u64 i = 1; i <= ROUNDS; i++) {
		message[0] = i;
		flag[0] = i;
	}
}

static void ordering(void)
{
	bool in_order = true;
	u64 got;

	smp_run(send_messages, NULL);
	do {
		got = flag[0];
		in_order &= message[0] >= got;
	} while (got < ROUNDS);
	check(in_order, "stores are seen in order");
	check(smp_wait(1000), "it is done");
}

static u8 code[64] __attribute__((aligned(64)));
static volatile unsigned go, seen;

static void run_code(void *unused)
{
	u32 value;

	(void)unused;
	for (unsigned round = 1; round <= 100; round++) {
		while (go < round)
			pause();
		/* Cross-modifying code needs a serializing instruction (SDM 3A 9.1.3). */
		cpuid(0, 0);
		asm volatile("call *%1" : "=a"(value) : "r"(code) : "memory", "cc");
		seen = value;
		barrier();
		go = 1000 + round;
		while (go == 1000 + round)
			pause();
	}
}

static void changed_code(void)
{
	bool all = true;

	code[0] = 0xb8;
	code[5] = 0xc3;
	smp_run(run_code, NULL);
	for (unsigned round = 1; round <= 100; round++) {
		*(volatile u32 *)(code + 1) = round * 3;
		barrier();
		go = round;
		while (go != 1000 + round)
			pause();
		all &= seen == round * 3;
		go = round;
		if (round == 100)
			go = 0;
	}
	check(all, "code that another processor changes");
	check(smp_wait(1000), "it is done");
}

/*
 * Each processor writes the code that the other is about to execute, and data beside it, all in one
 * page: so each takes from the other what that has just checked or decoded.
 */
#define EXCHANGES 1000
static u8 shared_page[4096] __attribute__((aligned(4096)));
static volatile unsigned turn[2 * 16];
static volatile unsigned mistakes[2 * 16];

static void exchange_code(void *self)
{
	unsigned me = (unsigned)(word)self;
	u8 *theirs = shared_page + 1024 * (1 - me), *mine = shared_page + 1024 * me;
	volatile u32 *data = (volatile u32 *)(shared_page + 2048 + 1024 * me);

	for (u32 i = 1; i <= EXCHANGES; i++) {
		u8 *at = theirs + i % 8 * 64;
		u32 value;

		*(volatile u32 *)(at + 1) = i;
		barrier();
		turn[16 * me] = i;
		for (unsigned n = 0; n < i % 16; n++)
			data[n]++;
		while (turn[16 * (1 - me)] < i)
			pause();
		cpuid(0, 0);
		asm volatile("call *%1" : "=a"(value) : "r"(mine + i % 8 * 64) : "memory", "cc");
		if (value != i)
			mistakes[16 * me]++;
	}
}

static void exchanged_code(void)
{
	for (unsigned n = 0; n < 32; n++) {
		shared_page[64 * n] = 0xb8;
		shared_page[64 * n + 5] = 0xc3;
	}
	smp_run(exchange_code, (void *)1);
	exchange_code((void *)0);
	check(smp_wait(20000), "both have exchanged their code");
	check_equal(mistakes[0] + mistakes[16], 0, "code that each writes for the other");
}

#define WINDOW 0x8000000000ull

static volatile unsigned shot;

static void shoot(struct trap *trap)
{
	(void)trap;
	write_cr3(read_cr3());
	shot++;
	apic_eoi();
}

static volatile u32 window_value;
static volatile unsigned rounds;

static void watch_window(void *unused)
{
	(void)unused;
	while (!stop) {
		window_value = *(volatile u32 *)WINDOW;
		rounds++;
		asm volatile("sti; nop; cli" ::: "memory");
	}
}

static void shootdown(void)
{
	u64 *pointers = page_alloc(), *directory = page_alloc(), *table = page_alloc();
	u32 *pages[2] = { page_alloc(), page_alloc() };
	bool all = true;
	unsigned at;

	((u64 *)(word)read_cr3())[1] = (word)pointers | PTE_P | PTE_W;
	pointers[0] = (word)directory | PTE_P | PTE_W;
	directory[0] = (word)table | PTE_P | PTE_W;
	*pages[0] = 100;
	*pages[1] = 101;
	table[0] = (word)pages[0] | PTE_P;
	table[0] = (word)pages[0] | PTE_P;
	set_hook(0x51, shoot);
	smp_run(watch_window, NULL);
	for (unsigned round = 1; round <= 50; round++) {
		table[0] = (word)pages[round & 1] | PTE_P;
		apic_send(1, ICR_ASSERT | 0x51);
		if (!poll_count(&shot, round, 1000))
			break;
		/* A read that was under way ends within a few of its rounds. */
		at = rounds;
		all &= poll_count(&rounds, at + 3, 1000) && window_value == 100 + (round & 1);
	}
	check_equal(shot, 50, "shootdowns are answered");
	check(all, "a shootdown drops the other's translation");
	stop = true;
	check(smp_wait(1000), "it is done");
	stop = false;
}

void payload(void)
{
	apic_write(APIC_LVT_LINT0, APIC_MASKED);
	if (!smp_start()) {
		skip("two processors", "there is one");
		return;
	}
	ok("INIT and SIPI start the other processor");
	smp_run(look, NULL);
	check(smp_wait(1000), "it does what it is told");
	check_equal(other.id, 1, "its APIC id");
	check_equal(other.base & 0x900, 0x800, "APIC_BASE: enabled, not the BSP");
	interrupts();
	init();
	atomicity();
	ordering();
	changed_code();
	exchanged_code();
	shootdown();
}
