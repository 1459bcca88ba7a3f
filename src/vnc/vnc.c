/*
 * atoll-vnc: shows a VM's screen to VNC viewers (RFC 6143, by neatvnc) and sends their keys and
 * pointers to it. A process of its own, started by the VM's with three descriptors
 * (display/viewer_channel.h) and the address as its argument: unix:PATH or HOST:PORT.
 *
 * What viewers send is parsed here and nowhere else; the VM gets structs of a fixed size, and
 * checks them. One thread runs the event loop, neatvnc's own compress.
 */
#include "display/key.h"
#include "display/viewer_channel.h"

#include <aml.h>
#include <linux/input-event-codes.h>
#include <neatvnc.h>
#include <pixman.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define DRM_FORMAT_XRGB8888 0x34325258
#define SETTLE_MS           5

/* Of a buffer that encoders may have or the pool: where the picture has changed since it was a
 * copy. */
struct buffer {
	struct pixman_region16 stale;
	LIST_ENTRY(buffer) link;
};

struct vnc {
	struct aml *loop;
	struct nvnc *server;
	struct nvnc_display *display;
	struct nvnc_fb_pool *pool; /* encoders have a buffer until they are done */
	LIST_HEAD(, buffer) buffers;
	const uint32_t *picture;
	unsigned nr_clients;
	bool waiting;              /* a frame was asked for */
	struct viewer_frame frame; /* the last one */
	uint32_t width, height;    /* as shown */
	uint8_t down[KEY_CNT / 8]; /* keys that the VM was told of */
};

static void send_event(const struct viewer_event *event)
{
	/* The VM reads as fast as it can; one that does not loses a key rather than holding this
	 * up. */
	if (send(VIEWER_CHANNEL_FD, event, sizeof(*event), MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		return;
}

static void want_frame(struct vnc *vnc)
{
	if (vnc->waiting || vnc->nr_clients == 0)
		return;
	vnc->waiting = true;
	send_event(&(struct viewer_event){ .type = VIEWER_WANTS_FRAME });
}

static void send_key(struct vnc *vnc, unsigned key, bool down)
{
	if (key == 0 || key >= KEY_CNT)
		return;
	vnc->down[key / 8] &= (uint8_t) ~(1u << key % 8);
	vnc->down[key / 8] |= (uint8_t)((unsigned)down << key % 8);
	send_event(&(struct viewer_event){ .type = VIEWER_KEY, .key = key, .down = down });
}

static struct vnc *vnc_of(struct nvnc_client *client)
{
	return nvnc_get_userdata(nvnc_client_get_server(client));
}

static void on_keysym(struct nvnc_client *client, uint32_t keysym, bool down)
{
	send_key(vnc_of(client), key_for_keysym(keysym), down);
}

/* QEMU's extended key event, as neatvnc hands it on: Linux's code. */
static void on_key(struct nvnc_client *client, uint32_t key, bool down)
{
	send_key(vnc_of(client), key, down);
}

static void on_pointer(
	struct nvnc_client *client, uint16_t x, uint16_t y, enum nvnc_button_mask mask)
{
	unsigned buttons = (mask & NVNC_BUTTON_LEFT ? 1u : 0) |
			   (mask & NVNC_BUTTON_RIGHT ? 2u : 0) |
			   (mask & NVNC_BUTTON_MIDDLE ? 4u : 0);

	(void)client;
	send_event(&(struct viewer_event){ .type = VIEWER_POINTER,
		.x = x,
		.y = y,
		.wheel = (mask & NVNC_SCROLL_UP ? 1 : 0) - (mask & NVNC_SCROLL_DOWN ? 1 : 0),
		.buttons = buttons });
}

/* No key stays down that nobody holds. */
static void on_client_gone(struct nvnc_client *client)
{
	struct vnc *vnc = vnc_of(client);

	vnc->nr_clients--;
	for (unsigned key = 0; key < KEY_CNT; key++) {
		if (vnc->down[key / 8] & 1u << key % 8)
			send_key(vnc, key, false);
	}
}

static void on_client(struct nvnc_client *client)
{
	struct vnc *vnc = vnc_of(client);

	vnc->nr_clients++;
	nvnc_set_client_cleanup_fn(client, on_client_gone);
	want_frame(vnc);
}

static void destroy_buffer(void *object)
{
	struct buffer *buffer = object;

	LIST_REMOVE(buffer, link);
	pixman_region_fini(&buffer->stale);
	free(buffer);
}

/* What is known of one of the pool's; of a new one, that all of it is stale. NULL: no memory. */
static struct buffer *buffer_of(struct vnc *vnc, struct nvnc_fb *fb)
{
	struct buffer *buffer = nvnc_get_userdata(fb);

	if (buffer)
		return buffer;
	buffer = calloc(1, sizeof(*buffer));
	if (!buffer)
		return NULL;
	pixman_region_init_rect(&buffer->stale, 0, 0, vnc->frame.width, vnc->frame.height);
	LIST_INSERT_HEAD(&vnc->buffers, buffer, link);
	nvnc_set_userdata(fb, buffer, destroy_buffer);
	return buffer;
}

/* Makes a copy of the picture of it. */
static bool refresh(struct vnc *vnc, struct nvnc_fb *fb)
{
	uint32_t *pixels = nvnc_fb_get_addr(fb), width = vnc->frame.width;
	struct buffer *buffer = buffer_of(vnc, fb);
	struct pixman_box16 *boxes;
	int count;

	if (!buffer)
		return false;
	pixman_region_intersect_rect(
		&buffer->stale, &buffer->stale, 0, 0, width, vnc->frame.height);
	boxes = pixman_region_rectangles(&buffer->stale, &count);
	for (int i = 0; i < count; i++) {
		size_t bytes = (size_t)(boxes[i].x2 - boxes[i].x1) * 4;

		for (int y = boxes[i].y1; y < boxes[i].y2; y++) {
			size_t at = (size_t)y * width + (size_t)boxes[i].x1;

			memcpy(pixels + at, vnc->picture + at, bytes);
		}
	}
	pixman_region_clear(&buffer->stale);
	return true;
}

static void show(struct vnc *vnc)
{
	const struct viewer_frame *frame = &vnc->frame;
	struct pixman_box16 boxes[VIEWER_MAX_RECTS];
	struct pixman_region16 damage;
	struct buffer *buffer;
	struct nvnc_fb *fb;

	nvnc_fb_pool_resize(vnc->pool, (uint16_t)frame->width, (uint16_t)frame->height,
		DRM_FORMAT_XRGB8888, (uint16_t)frame->width);
	for (uint32_t i = 0; i < frame->nr_rects; i++) {
		const struct surface_rect *rect = &frame->rects[i];

		boxes[i] = (struct pixman_box16){ (int16_t)rect->x, (int16_t)rect->y,
			(int16_t)(rect->x + rect->width), (int16_t)(rect->y + rect->height) };
	}
	pixman_region_init_rects(&damage, boxes, (int)frame->nr_rects);
	LIST_FOREACH(buffer, &vnc->buffers, link)
	pixman_region_union(&buffer->stale, &buffer->stale, &damage);
	fb = nvnc_fb_pool_acquire(vnc->pool);
	if (fb && refresh(vnc, fb)) {
		nvnc_display_feed_buffer(vnc->display, fb, &damage);
		vnc->width = frame->width;
		vnc->height = frame->height;
	}
	if (fb)
		nvnc_fb_unref(fb);
	pixman_region_fini(&damage);
}

static void on_time(void *object)
{
	struct vnc *vnc = aml_get_userdata(object);

	vnc->waiting = false;
	show(vnc);
	want_frame(vnc);
}

/*
 * neatvnc 0.5.4 tells clients of a new size in two messages, and frees one whose connection turns
 * out to be gone at the first. Those that leave as the guest changes its mode are noticed before.
 */
static bool show_later(struct vnc *vnc)
{
	struct aml_timer *timer = aml_timer_new(SETTLE_MS, on_time, vnc, NULL);
	bool started = timer && aml_start(vnc->loop, timer) == 0;

	if (timer)
		aml_unref(timer);
	return started;
}

static void on_frame(void *object)
{
	struct vnc *vnc = aml_get_userdata(object);
	struct viewer_frame frame;
	ssize_t size = recv(VIEWER_CHANNEL_FD, &frame, sizeof(frame), MSG_DONTWAIT);

	if (size == 0) {
		/* The VM has ended. */
		aml_exit(vnc->loop);
		return;
	}
	if (size != sizeof(frame) || frame.width > SURFACE_MAX_WIDTH ||
		frame.height > SURFACE_MAX_HEIGHT || frame.nr_rects > VIEWER_MAX_RECTS)
		return;
	vnc->frame = frame;
	if ((frame.width != vnc->width || frame.height != vnc->height) && show_later(vnc))
		return;
	vnc->waiting = false;
	show(vnc);
	want_frame(vnc);
}

static struct nvnc *open_server(char *address)
{
	char *colon = strrchr(address, ':');

	if (strncmp(address, "unix:", 5) == 0) {
		unlink(address + 5);
		umask(0077); /* for this user only */
		return nvnc_open_unix(address + 5);
	}
	if (!colon)
		return NULL;
	*colon = '\0';
	return nvnc_open(address, (uint16_t)atoi(colon + 1));
}

static bool start(struct vnc *vnc, char *address)
{
	struct aml_handler *handler;

	vnc->picture =
		mmap(NULL, VIEWER_PICTURE_BYTES, PROT_READ, MAP_SHARED, VIEWER_PICTURE_FD, 0);
	if (vnc->picture == MAP_FAILED)
		return false;
	vnc->loop = aml_new();
	aml_set_default(vnc->loop);
	nvnc_set_log_level(NVNC_LOG_ERROR);
	vnc->server = open_server(address);
	vnc->display = nvnc_display_new(0, 0);
	vnc->pool = nvnc_fb_pool_new(0, 0, DRM_FORMAT_XRGB8888, 0);
	if (!vnc->server || !vnc->display || !vnc->pool)
		return false;
	nvnc_set_name(vnc->server, "Atoll");
	nvnc_set_userdata(vnc->server, vnc, NULL);
	nvnc_add_display(vnc->server, vnc->display);
	nvnc_set_key_fn(vnc->server, on_keysym);
	nvnc_set_key_code_fn(vnc->server, on_key);
	nvnc_set_pointer_fn(vnc->server, on_pointer);
	nvnc_set_new_client_fn(vnc->server, on_client);
	vnc->frame = (struct viewer_frame){ .width = 720, .height = 400 }; /* black */
	show(vnc);
	handler = aml_handler_new(VIEWER_CHANNEL_FD, on_frame, vnc, NULL);
	return handler && aml_start(vnc->loop, handler) == 0;
}

int main(int argc, char **argv)
{
	static struct vnc vnc;
	/* Said once, so that the VM's process knows: 0, or that the address cannot be listened at.
	 */
	struct viewer_event ready = { .type = VIEWER_WANTS_FRAME };

	if (argc != 2) {
		fprintf(stderr, "atoll-vnc: is started by atoll run --display vnc\n");
		return 64;
	}
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	signal(SIGPIPE, SIG_IGN);
	if (!start(&vnc, argv[1]))
		return 1;
	vnc.waiting = true;
	send_event(&ready);
	aml_run(vnc.loop);
	return 0;
}
