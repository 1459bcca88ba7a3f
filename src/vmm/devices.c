#include "vmm/devices.h"

#include <errno.h>
#include <stdlib.h>

bool devices_need_pci(const struct vm_config *config)
{
	return config->pci || config->test_card;
}

static int create_test_cards(struct devices *devices, struct board *board, struct error *err)
{
	struct pci_test_card *cards = calloc(2, sizeof(*cards));

	if (!cards)
		return error_set_errno(err, EXIT_CODE_HOST, ENOMEM, "no memory for a test card");
	devices->test_cards = cards;
	pci_test_card_init(&cards[0], "test-card", &cards[1]);
	pci_test_card_init(&cards[1], "other-test-card", NULL);
	return pci_plug(board_pci(board), &cards[0].function, PCI_ANY_DEVICE, false, err);
}

int devices_create(struct devices *devices, const struct vm_config *config, struct board *board,
	struct error *err)
{
	if (config->test_card)
		return create_test_cards(devices, board, err);
	return 0;
}

void devices_destroy(struct devices *devices)
{
	if (!devices->test_cards)
		return;
	pci_test_card_finish(&devices->test_cards[1]);
	pci_test_card_finish(&devices->test_cards[0]);
	free(devices->test_cards);
}
