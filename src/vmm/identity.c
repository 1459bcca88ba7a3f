#include "vmm/identity.h"

#include "bundle/bundle.h"

#include <string.h>
#include <sys/random.h>

#define KEYS "manufacturer, product, version, serial, uuid, sku, family, asset"

/* FNV-1a; with another start for each half. */
static uint64_t hash(uint64_t value, const char *text)
{
	for (; *text; text++)
		value = (value ^ (uint8_t)*text) * UINT64_C(0x100000001b3);
	return value;
}

/* A VM with a name keeps it: it comes of where its directory is. Others have one of their own each
 * time. */
static void choose_uuid(uint8_t uuid[16], const struct bundle *bundle)
{
	uint64_t halves[2] = { 0 };

	if (bundle) {
		halves[0] = hash(UINT64_C(0xcbf29ce484222325), bundle->path);
		halves[1] = hash(~halves[0], bundle->path);
		memcpy(uuid, halves, sizeof(halves));
	} else if (getrandom(uuid, 16, 0) != 16) {
		memset(uuid, 0, 16); /* "not present" */
		return;
	}
	uuid[6] = (uuid[6] & 0x0f) | (bundle ? 0x80 : 0x40); /* version 8 or 4 */
	uuid[8] = (uuid[8] & 0x3f) | 0x80;
}

static int take(struct identity *identity, struct error *err)
{
	struct properties *properties = &identity->properties;
	struct smbios_identity *smbios = &identity->smbios.identity;
	const struct {
		const char *key, **value;
	} texts[] = { { "manufacturer", &smbios->manufacturer }, { "product", &smbios->product },
		{ "version", &smbios->version }, { "serial", &smbios->serial },
		{ "sku", &smbios->sku }, { "family", &smbios->family },
		{ "asset", &smbios->asset } };
	const char *uuid;

	for (unsigned i = 0; i < ARRAY_SIZE(texts); i++) {
		const char *value = properties_take(properties, texts[i].key);

		if (value && strlen(value) > 64)
			return error_set(err, EXIT_CODE_USAGE,
				"--smbios %s= has room for 64 characters", texts[i].key);
		if (value)
			*texts[i].value = value;
	}
	uuid = properties_take(properties, "uuid");
	if (uuid && !smbios_parse_uuid(uuid, smbios->uuid))
		return error_set(err, EXIT_CODE_USAGE,
			"--smbios cannot read the uuid '%.40s'; write it as "
			"12345678-1234-1234-1234-123456789abc",
			uuid);
	if (properties->word)
		return error_set(err, EXIT_CODE_USAGE,
			"--smbios does not know '%.40s'; give KEY=VALUE with the keys " KEYS,
			properties->word);
	return properties_check(properties, KEYS, err);
}

int identity_init(struct identity *identity, const char *text, const struct vm_config *config,
	const struct cpu_model *model, struct error *err)
{
	struct smbios_identity *smbios = &identity->smbios.identity;
	uint32_t registers[4];

	memset(identity, 0, sizeof(*identity));
	smbios->manufacturer = "Atoll";
	smbios->product = "Virtual machine";
	identity->smbios.firmware = "Atoll";
	if (config)
		choose_uuid(smbios->uuid, config->bundle);
	if (model) {
		cpu_model_cpuid(model, 0, 1, 0, false, 1, registers);
		identity->smbios.cpu_signature = registers[0];
		identity->smbios.cpu_features = registers[3];
	}
	if (!text)
		return 0;
	if (properties_parse(&identity->properties, "smbios", text, err))
		return -1;
	return take(identity, err);
}

void identity_finish(struct identity *identity)
{
	properties_finish(&identity->properties);
}
