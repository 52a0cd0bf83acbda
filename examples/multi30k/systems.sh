# Sourced by train.sh and compare.sh: the systems of the comparison, by name.

SYSTEMS="text image-must gated-fusion doubly-attentive selective-attention \
imagination retrieval-topic retrieval-dense hallucination ikd"

# describe_system NAME: sets `options` of fairseq-train and what the system does with `images`:
# none, index (looked up in an image index), training (seen there alone), test (needed there too).
# Fails for a name that it does not know.
describe_system() {
  local architecture criterion=label_smoothed_cross_entropy
  images=test options=()
  case $1 in
    text) images=none architecture=transformer_mmt ;;
    image-must) architecture=multimodal_transformer ;;
    gated-fusion) architecture=gated_fusion ;;
    doubly-attentive) architecture=doubly_attentive_transformer ;;
    selective-attention) architecture=selective_attention_transformer ;;
    imagination | hallucination) images=training architecture=$1_transformer criterion=auxiliary_losses ;;
    retrieval-topic | retrieval-dense)
      images=index architecture=retrieval_transformer options=(--retriever "${1#retrieval-}")
      ;;
    ikd)
      images=training architecture=ikd_transformer criterion=inversion_distillation
      options=(--teacher-weights imagenet)
      ;;
    *) return 1 ;;
  esac
  options+=(--arch "${architecture}_tiny" --criterion "$criterion")
}
