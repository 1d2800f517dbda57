"""GLM-4.5 and GLM-4.5-Air: as DeepSeek-V3, at layer 92 and 46; a next depth gets the states before the final norm."""

from dataclasses import replace

from trainer.models.layouts.deepseek_v3 import DEEPSEEK_V3

GLM4_MOE = replace(DEEPSEEK_V3, name="GLM-4.5", model_types=("glm4_moe",), chains_normed=False)
