# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""
transformers' own tests of models, on every class of the family and on every layer. They are not here: `transformers_suite`
fetches those of the installed version. A test that does not apply says why.
"""

import unittest
from functools import partial

import pytest

from modeling_hyperset import (
    HyperSETBackbone,
    HyperSETConfig,
    HyperSETForCausalLM,
    HyperSETForImageClassification,
    HyperSETForMaskedImageModeling,
    HyperSETForMaskedLM,
    HyperSETForSequenceClassification,
    HyperSETForTokenClassification,
    HyperSETModel,
)
from support import transformers_suite


pytestmark = pytest.mark.slow

try:
    modeling = transformers_suite.load("test_modeling_common")
    configuration = transformers_suite.load("test_configuration_common")
    training = transformers_suite.load("test_training_mixin")
    backbone = transformers_suite.load("test_backbone_common")
except transformers_suite.Unavailable as reason:
    pytest.skip(str(reason), allow_module_level=True)


class ModelTester:
    """What transformers' tests ask of a family: small configs and inputs. Its layers are our iterations: one layer, twice."""

    is_training = True
    batch_size, image_size, patch_size, seq_length = 7, 12, 3, 16
    hidden_size, num_attention_heads, num_hidden_layers = 32, 4, 2
    mask_length, num_masks = 16, 8

    def __init__(self, **fields):
        self.fields = fields

    def get_config(self) -> HyperSETConfig:
        sizes = {"hidden_size": self.hidden_size, "num_attention_heads": self.num_attention_heads}
        return HyperSETConfig(**(sizes | {"num_iterations": 2, "step_size_time_dim": 16} | self.fields))


class ImageModelTester(ModelTester):
    seq_length = 17  # with [CLS]

    def get_config(self):
        self.fields = {"image_size": self.image_size, "patch_size": self.patch_size} | self.fields
        return super().get_config()

    def prepare_config_and_inputs_for_common(self):
        images = modeling.floats_tensor([self.batch_size, 3, self.image_size, self.image_size])
        return self.get_config(), {"pixel_values": images}


class TextModelTester(ModelTester):
    causal_lm_class = HyperSETForMaskedLM  # what the test of training trains

    def get_config(self):
        self.fields = {"vocab_size": 99, "max_position_embeddings": 64} | self.fields
        return super().get_config()

    def prepare_config_and_inputs_for_common(self):
        ids = modeling.ids_tensor([self.batch_size, self.seq_length], 98)
        mask = modeling.random_attention_mask([self.batch_size, self.seq_length])
        return self.get_config(), {"input_ids": ids, "attention_mask": mask}


class Suite(modeling.ModelTesterMixin):
    """The tests as this family takes them."""

    model_tester_class: type
    fields = {}

    def setUp(self):
        self.model_tester = self.model_tester_class(**self.fields)
        if "rope" in self._testMethodName and self.fields.get("position_embedding_type") != "rotary":
            self.skipTest("This model has no rotary positions, and its config refuses their fields.")

    def test_config(self):
        fields = self.model_tester.get_config().to_diff_dict()
        fields = {name: value for name, value in fields.items() if name in HyperSETConfig.__dataclass_fields__}
        tester = configuration.ConfigTester(self, HyperSETConfig, has_text_modality="vocab_size" in fields, **fields)
        tester.run_common_tests()

    def check_training_gradient_checkpointing(self, *args, **kwargs):
        # The test recomputes every call of a layer with the arguments of its last, so each layer is called once. That every
        # iteration is recomputed with its own is in test_transformers.py.
        self.model_tester.fields = self.model_tester.fields | {"num_hidden_layers": 2, "num_iterations": 1}
        super().check_training_gradient_checkpointing(*args, **kwargs)

    def test_sdpa_can_dispatch_non_composite_models(self):
        if self.model_tester.get_config().layer_type in ("hyperset", "energy_transformer"):
            self.skipTest("The default is not SDPA; test_transformers.py asks for each implementation.")
        super().test_sdpa_can_dispatch_non_composite_models()


class ImageSuite(Suite):
    model_tester_class = ImageModelTester
    all_model_classes = (HyperSETModel,)
    test_resize_embeddings = False  # images have no vocabulary

    @unittest.skip("Images have no embeddings that could be given in the place of ids.")
    def test_inputs_embeds(self):
        pass

    @unittest.skip("Images have no embeddings that could be given in the place of ids.")
    def test_inputs_embeds_matches_input_ids(self):
        pass

    @unittest.skip("The embedding of patches is no nn.Embedding; test_bad_input.py refuses another in its place.")
    def test_model_get_set_embeddings(self):
        pass


class TextSuite(Suite):
    model_tester_class = TextModelTester
    all_model_classes = (HyperSETModel,)

    def _prepare_for_class(self, inputs_dict, model_class, return_labels=False):
        inputs = super()._prepare_for_class(inputs_dict, model_class, return_labels)
        if model_class is HyperSETModel:
            inputs.pop("bool_masked_pos", None)  # HyperSETModel takes it with images alone
        return inputs


class ImagesTest(ImageSuite, unittest.TestCase):
    all_model_classes = (
        HyperSETModel,
        HyperSETForImageClassification,
        HyperSETForMaskedImageModeling,
        HyperSETBackbone,
    )


class BackboneTest(backbone.BackboneTesterMixin, unittest.TestCase):
    config_class = HyperSETConfig
    all_model_classes = (HyperSETBackbone,)

    def setUp(self):
        self.model_tester = ImageModelTester(out_features=["stem", "stage2"])

    def test_config(self):
        # The test counts a stage for each layer.
        self.config_class = partial(HyperSETConfig, num_hidden_layers=4, num_iterations=1)
        super().test_config()


class ImageVariantTest(ImageSuite, unittest.TestCase):
    fields = {
        "attention_energy": "sigmoid",
        "feedforward_energy": "softmax",
        "update_rule": "adam",
        "lora_rank": 2,
        "step_size_condition": "initial",
        "step_size_per_layer": True,
        "position_embedding_type": "learned",
        "norm_type": "rmsnorm",
    }


class TextTest(TextSuite, training.TrainingTesterMixin, unittest.TestCase):
    training_overfit_learning_rate = 3e-3
    all_model_classes = (
        HyperSETModel,
        HyperSETForSequenceClassification,
        HyperSETForTokenClassification,
        HyperSETForMaskedLM,
    )


class CodesTest(TextSuite, unittest.TestCase):
    all_model_classes = (HyperSETForMaskedImageModeling,)
    fields = {"vocab_size": 99, "max_position_embeddings": 16, "position_embedding_type": "sinusoidal_2d"}
    test_resize_embeddings = False  # the vocabulary is the codebook


class TransformerTest(ImageSuite, unittest.TestCase):
    fields = {"layer_type": "transformer"}


class SharedQKVTransformerTest(TextSuite, unittest.TestCase):
    fields = {"layer_type": "shared_qkv_transformer"}


class CRATETest(TextSuite, unittest.TestCase):
    fields = {"layer_type": "crate"}


class CRATETTest(ImageSuite, unittest.TestCase):
    fields = {"layer_type": "crate_t"}


class EnergyTransformerTest(TextSuite, unittest.TestCase):
    fields = {"layer_type": "energy_transformer"}


class YuriiFormerTest(ImageSuite, unittest.TestCase):
    fields = {"layer_type": "yuriiformer", "velocity_start": "embeddings"}


class CEMTest(ImageSuite, unittest.TestCase):
    fields = {"layer_type": "cem", "inner_steps": 2, "interaction_diagonal": "full", "preconditioner_rank": 2}


class NRGPTTest(TextSuite, unittest.TestCase):
    fields = {"layer_type": "nrgpt"}


class CausalTest(TextSuite, unittest.TestCase):
    all_model_classes = (HyperSETModel, HyperSETForCausalLM)
    fields = {
        "attention_energy": "causal_softmax",
        "position_embedding_type": "rotary",
        # Learned step sizes start at zero, and then attention and its positions change nothing.
        "step_size_type": "fixed",
        "step_size_attention": 0.5,
        "step_size_feedforward": 0.5,
    }

    @unittest.skip("The source distribution has no tests of `generate()` to inherit; test_generation.py has ours.")
    def test_generation_tester_mixin_inheritance(self):
        pass
