/*
 * Which instructions a guest's processor has, for the decoder.
 */
#include "engine/soft/insn.h"

void insn_features_init(struct insn_features *features, const struct cpu_model *model)
{
	*features = (struct insn_features){ 0 };
	for (unsigned feature = 0; feature < CPU_NR_FEATURES; feature++) {
		if (cpu_model_has(model, feature))
			features->bits[feature / 64] |= BIT(feature % 64);
	}
}
