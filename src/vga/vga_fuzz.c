/*
 * Fuzz target: a guest's accesses to the VGA's ports, window, DISPI and BARs, and the pictures that
 * come of them. The state must be one that a guest could be in.
 */
#include "machine/fuzz.h"
#include "vga/vga_card.h"

static void ignore(void *context, const struct surface_rect *rect)
{
	(void)context;
	(void)rect;
}

static void draw(struct vga_card *card)
{
	static struct text_screen text;
	struct vga_snapshot snapshot;
	struct surface surface = { 0 }, seen = { 0 };
	struct surface_view view;

	vga_snapshot(&card->vga, &snapshot);
	if (vga_draw(&snapshot, &surface) < 0)
		abort();
	vga_read_text(&snapshot, &text);
	/* What is looked at where it lies is what is drawn. */
	if (vga_view(&snapshot, &view) && (surface_update(&seen, &view, ignore, NULL) < 0 ||
						  surface_hash(&seen) != surface_hash(&surface)))
		abort();
	surface_finish(&surface);
	surface_finish(&seen);
}

static void act(struct machine *machine, struct vga_card *card, struct fuzz_input *input)
{
	static const uint16_t ports[] = { 0x3b0, 0x3c0, 0x3c8, 0x3d0, 0x3d8, 0x1ce, 0x1d0, 0x3ce };
	uint8_t action = fuzz_u8(input);
	unsigned size = 1u << action / 16 % 3;
	uint16_t port = ports[action / 8 % 8] + fuzz_u8(input) % 8;
	gpa_t window = VGA_WINDOW_BASE + (fuzz_u32(input) & (VGA_WINDOW_SIZE - 1));

	switch (action % 8) {
	case 0:
	case 1:
	case 2: machine_pio_write(machine, port, size, fuzz_u32(input)); break;
	case 3: machine_pio_read(machine, port, size); break;
	case 4: machine_mmio_write(machine, window, 8, fuzz_u32(input)); break;
	case 5: machine_mmio_read(machine, window, 8); break;
	case 6:
		pci_bar_write(&card->function, 2, window & 0xfff, size, fuzz_u32(input));
		pci_bar_read(&card->function, 2, window & 0xfff, size);
		break;
	case 7: vga_dispi_write(&card->vga, port % 11, (uint16_t)fuzz_u32(input)); break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	struct fuzz_input input = { bytes, size };
	static struct machine machine;
	struct vga_card *card;
	struct error err = { 0 };

	log_set_level(LOG_ERROR);
	machine_init(&machine);
	if (vga_card_create(&card, "vga", &machine, &err))
		abort();
	vga_card_map_legacy(card);
	while (input.left > 0)
		act(&machine, card, &input);
	draw(card);
	fuzz_check_states(&machine, false);
	vga_card_destroy(card);
	machine_finish(&machine);
	return 0;
}
