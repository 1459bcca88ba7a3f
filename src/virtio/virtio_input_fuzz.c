/* Fuzz target: what a driver can do to a virtio keyboard or tablet that somebody uses. */
#include "virtio/virtio_input.h"

#include "virtio/virtio_fuzz.h"

/* An event, most often of a LED. */
static size_t input_head(struct virtio_fuzz *fuzz, unsigned queue, uint8_t head[FUZZ_HEAD])
{
	(void)queue;
	fuzz_bytes(&fuzz->input, head, 8);
	if (head[0] < 0xc0)
		head[0] = 0x11; /* EV_LED */
	head[1] = head[3] = 0;
	return 8;
}

static void happen(struct virtio_fuzz *fuzz, uint8_t what)
{
	const struct virtio_input_event events[] = { { 1, what, 1 }, { 3, 0, what } };

	for (unsigned i = 0; i < what; i++)
		virtio_input_report(fuzz->device, events, 1 + what % 2);
	virtio_input_leds(fuzz->device);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	static const struct virtio_fuzz_ops ops = { .head = input_head, .happen = happen };
	static struct virtio_fuzz fuzz;
	struct virtio_device *device;
	enum virtio_input_kind kind;

	virtio_fuzz_init(&fuzz, bytes, size);
	kind = fuzz_u8(&fuzz.input) & 1 ? VIRTIO_INPUT_TABLET : VIRTIO_INPUT_KEYBOARD;
	if (virtio_input_create(&device, "input0", &fuzz.pci.machine, kind, NULL))
		abort();
	virtio_fuzz_run(&fuzz, device, &ops);
	virtio_input_destroy(device);
	virtio_fuzz_finish(&fuzz);
	return 0;
}
