#include "display/key.h"

#include "base/bits.h"
#include "display/key_table.h"

#include <errno.h>
#include <string.h>

struct layout {
	const char *name;
	const struct key_characters *own; /* looked at first; NULL: none */
	size_t count;
};

static const struct layout layouts[] = {
	{ "us", NULL, 0 },
	{ "de", key_de, ARRAY_SIZE(key_de) },
};

static const struct layout *layout_named(const char *name)
{
	for (unsigned i = 0; i < ARRAY_SIZE(layouts); i++) {
		if (!name || strcmp(layouts[i].name, name) == 0)
			return &layouts[i];
	}
	return NULL;
}

bool key_layout_exists(const char *layout)
{
	return layout_named(layout);
}

static bool find_character(const struct key_characters *table, size_t count, uint32_t character,
	struct key_stroke *stroke)
{
	for (size_t i = 0; i < count; i++) {
		if (character != table[i].plain && character != table[i].shift &&
			character != table[i].altgr)
			continue;
		*stroke = (struct key_stroke){ .key = table[i].key,
			.shift = character == table[i].shift,
			.altgr = character == table[i].altgr };
		return true;
	}
	return false;
}

/* Does the layout say what this key writes? */
static bool overrides(const struct layout *layout, uint8_t key)
{
	for (size_t i = 0; i < layout->count; i++) {
		if (layout->own[i].key == key)
			return true;
	}
	return false;
}

struct key_stroke key_for_character(const char *name, uint32_t character)
{
	const struct layout *layout = layout_named(name);
	struct key_stroke stroke = { 0 };

	switch (character) {
	case 0: return stroke;
	case '\n':
	case '\r': return (struct key_stroke){ .key = KEY_ENTER };
	case '\t': return (struct key_stroke){ .key = KEY_TAB };
	case '\b':
	case 0x7f: return (struct key_stroke){ .key = KEY_BACKSPACE };
	case 0x1b: return (struct key_stroke){ .key = KEY_ESC };
	case ' ': return (struct key_stroke){ .key = KEY_SPACE };
	}
	if (!layout || find_character(layout->own, layout->count, character, &stroke))
		return stroke;
	if (find_character(key_us, ARRAY_SIZE(key_us), character, &stroke) &&
		overrides(layout, stroke.key))
		stroke = (struct key_stroke){ 0 };
	return stroke;
}

uint32_t key_next_character(const char **text)
{
	const uint8_t *at = (const uint8_t *)*text;
	unsigned more = at[0] >= 0xf0 ? 3 : at[0] >= 0xe0 ? 2 : at[0] >= 0xc0 ? 1 : 0;
	uint32_t character = at[0] & (more ? 0x3fu >> more : 0x7fu);

	if (at[0] == 0)
		return 0;
	*text += 1;
	if (at[0] >= 0xf8 || (at[0] >= 0x80 && !more))
		return 0xfffd;
	for (unsigned i = 1; i <= more; i++) {
		if ((at[i] & 0xc0) != 0x80)
			return 0xfffd;
		character = character << 6 | (at[i] & 0x3f);
		*text += 1;
	}
	return character ? character : 0xfffd;
}

static unsigned key_named(const char *name, size_t length)
{
	struct key_stroke stroke;

	for (unsigned i = 0; i < ARRAY_SIZE(key_names); i++) {
		if (strlen(key_names[i].name) == length &&
			strncasecmp(key_names[i].name, name, length) == 0)
			return key_names[i].key;
	}
	if (length != 1)
		return 0;
	/* A letter or sign is the key that it is printed on. */
	stroke = key_for_character(NULL, (uint8_t)*name);
	return stroke.key;
}

int key_parse_chord(const char *text, unsigned keys[KEY_MAX_CHORD], struct error *err)
{
	int count = 0;

	for (const char *at = text;; at++) {
		/* The minus that ends a chord is the key. */
		size_t length = *at ? 1 + strcspn(at + 1, "-") : 0;
		unsigned key = key_named(at, length);

		if (!key)
			return error_set(err, EXIT_CODE_USAGE,
				"there is no key '%.*s' in '%.80s'; keys are letters, signs, f1 to "
				"f12, and names such as ctrl, alt, del, enter, esc, up, page_down",
				(int)length, at, text);
		if (count == KEY_MAX_CHORD)
			return error_set(err, EXIT_CODE_USAGE,
				"'%.80s' has too many keys; %d can be held at once", text,
				KEY_MAX_CHORD);
		keys[count++] = key;
		at += length;
		if (!*at)
			return count;
	}
}

unsigned key_for_keysym(uint32_t keysym)
{
	for (unsigned i = 0; i < ARRAY_SIZE(key_names); i++) {
		if (key_names[i].keysym && key_names[i].keysym == keysym)
			return key_names[i].key;
	}
	/* Latin 1 is itself. */
	if (keysym >= 0x20 && keysym < 0x100)
		return key_for_character(NULL, keysym).key;
	return 0;
}
