"""Real client libraries, pointed at a running server as their page under docs/clients says."""

from __future__ import annotations

import asyncio

import pytest

from tests.clients.conftest import DOCUMENTS, KEY, QUERY

pytestmark = pytest.mark.clients

MODEL = "jina-reranker-v2-base-multilingual"


def test_haystack_jina_ranker(target, monkeypatch):
    ranker = pytest.importorskip("haystack_integrations.components.rankers.jina")
    haystack = pytest.importorskip("haystack")
    monkeypatch.setenv("JINA_API_KEY", KEY)
    documents = [haystack.Document(content=text, meta={"place": str(i)}) for i, text in enumerate(DOCUMENTS)]
    made = ranker.JinaRanker(model=MODEL, base_url=f"{target.url}/v1/rerank")
    found = made.run(query=QUERY, documents=documents)["documents"]
    assert {one.content for one in found} == set(DOCUMENTS)
    by_text = {DOCUMENTS[i]: target.scores[i] for i in range(len(DOCUMENTS))}
    assert [one.score for one in found] == pytest.approx([by_text[one.content] for one in found], abs=1e-5)
    three = ranker.JinaRanker(model=MODEL, base_url=f"{target.url}/v1/rerank", top_k=3)
    result = three.run(query=QUERY, documents=documents)
    assert len(result["documents"]) == 3


def test_haystack_jina_ranker_reads_our_refusal(target, monkeypatch):
    ranker = pytest.importorskip("haystack_integrations.components.rankers.jina")
    haystack = pytest.importorskip("haystack")
    monkeypatch.setenv("JINA_API_KEY", "wrong")
    made = ranker.JinaRanker(base_url=f"{target.url}/v1/rerank")
    with pytest.raises(Exception, match="this key is not known here"):
        made.run(query=QUERY, documents=[haystack.Document(content="x")])


def test_haystack_cohere_ranker(target, monkeypatch):
    ranker = pytest.importorskip("haystack_integrations.components.rankers.cohere")
    haystack = pytest.importorskip("haystack")
    monkeypatch.setenv("COHERE_API_KEY", KEY)
    texts = [text or "blank" for text in DOCUMENTS]
    made = ranker.CohereRanker(model="rerank-v3.5", api_base_url=target.url, top_k=2)
    found = made.run(query=QUERY, documents=[haystack.Document(content=text) for text in texts])["documents"]
    assert [one.score for one in found] == pytest.approx(sorted(target.scores, reverse=True)[:2], abs=1e-5)


def nodes():
    schema = pytest.importorskip("llama_index.core.schema")
    return [schema.NodeWithScore(node=schema.TextNode(text=text, id_=str(i))) for i, text in enumerate(DOCUMENTS)]


def test_llama_index_jina(target):
    module = pytest.importorskip("llama_index.postprocessor.jinaai_rerank")
    made = module.JinaRerank(api_key=KEY, model=MODEL, top_n=3, base_url=f"{target.url}/v1")
    found = made.postprocess_nodes(nodes(), query_str=QUERY)
    target.check([(int(one.node.node_id), one.score) for one in found], 3)


def test_llama_index_tei(target):
    module = pytest.importorskip("llama_index.postprocessor.tei_rerank")
    made = module.TextEmbeddingInference(base_url=target.url, model_name="any", top_n=4, auth_token=KEY, timeout=30)
    found = made.postprocess_nodes(nodes(), query_str=QUERY)
    assert [one.score for one in found] == pytest.approx(sorted(target.scores, reverse=True)[:4], abs=1e-5)


def test_llama_index_cohere(target):
    module = pytest.importorskip("llama_index.postprocessor.cohere_rerank")
    made = module.CohereRerank(api_key=KEY, model="rerank-v3.5", top_n=3, base_url=target.url)
    found = made.postprocess_nodes(nodes(), query_str=QUERY)
    target.check([(int(one.node.node_id), one.score) for one in found], 3)


def lang_documents():
    documents = pytest.importorskip("langchain_core.documents")
    return [documents.Document(page_content=text, metadata={"place": i}) for i, text in enumerate(DOCUMENTS)]


@pytest.mark.filterwarnings("ignore")
def test_langchain_community_jina(target, monkeypatch):
    module = pytest.importorskip("langchain_community.document_compressors.jina_rerank")
    monkeypatch.setattr(module, "JINA_API_URL", f"{target.url}/v1/rerank")
    made = module.JinaRerank(jina_api_key=KEY, model=MODEL, top_n=3)
    found = made.compress_documents(lang_documents(), QUERY)
    target.check([(one.metadata["place"], one.metadata["relevance_score"]) for one in found], 3)


def test_langchain_cohere(target):
    module = pytest.importorskip("langchain_cohere")
    made = module.CohereRerank(cohere_api_key=KEY, model="rerank-v3.5", base_url=target.url, top_n=3)
    found = made.compress_documents(lang_documents(), QUERY)
    target.check([(one.metadata["place"], one.metadata["relevance_score"]) for one in found], 3)


@pytest.mark.filterwarnings("ignore")
def test_langchain_infinity(target, monkeypatch):
    module = pytest.importorskip("langchain_community.document_compressors.infinity_rerank")
    client = pytest.importorskip("infinity_client")
    keyed = client.Client(base_url=f"{target.url}/infinity", headers={"Authorization": f"Bearer {KEY}"})
    made = module.InfinityRerank(client=keyed, model="any", top_n=3)
    found = made.compress_documents(lang_documents(), QUERY)
    target.check([(one.metadata["place"], one.metadata["relevance_score"]) for one in found], 3)


def test_cohere_sdk_v1(target):
    cohere = pytest.importorskip("cohere")
    client = cohere.Client(api_key=KEY, base_url=target.url)
    answer = client.rerank(query=QUERY, documents=DOCUMENTS, model="rerank-english-v3.0")
    target.check([(one.index, one.relevance_score) for one in answer.results])
    objects = [{"title": "a", "body": text} for text in DOCUMENTS]
    ranked = client.rerank(query=QUERY, documents=objects, rank_fields=["body"], top_n=2, return_documents=True)
    assert len(ranked.results) == 2
    assert ranked.results[0].document.title == "a"


def test_cohere_sdk_v2(target):
    cohere = pytest.importorskip("cohere")
    client = cohere.ClientV2(api_key=KEY, base_url=target.url)
    answer = client.rerank(model="rerank-v3.5", query=QUERY, documents=DOCUMENTS, top_n=4)
    target.check([(one.index, one.relevance_score) for one in answer.results], 4)
    assert answer.meta.billed_units.search_units == 1
    assert answer.id


def test_cohere_sdk_reads_our_refusals(target):
    cohere = pytest.importorskip("cohere")
    with pytest.raises(cohere.UnauthorizedError, match="this key is not known here"):
        cohere.ClientV2(api_key="wrong", base_url=target.url).rerank(model="m", query=QUERY, documents=["d"])
    with pytest.raises(cohere.BadRequestError, match="must not be empty"):
        cohere.ClientV2(api_key=KEY, base_url=target.url).rerank(model="m", query=" ", documents=["d"])


LITELLM = [
    ("jina_ai/any", "", {}),
    ("cohere/rerank-v3.5", "", {}),
    ("infinity/any", "/infinity", {"return_documents": True}),
    ("infinity/any", "", {"return_documents": False}),
    ("hosted_vllm/any", "", {}),
    ("hosted_vllm/any", "/v1", {}),
    ("huggingface/any", "", {"return_documents": False}),
    ("voyage/rerank-2.5", "", {}),
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("model", "path", "more"), LITELLM, ids=[f"{m} {p or 'bare'}" for m, p, _ in LITELLM])
def test_litellm(target, model, path, more):
    litellm = pytest.importorskip("litellm")
    answer = litellm.rerank(
        model=model, query=QUERY, documents=DOCUMENTS, top_n=3, api_base=target.url + path, api_key=KEY, **more
    )
    target.check([(one["index"], one["relevance_score"]) for one in answer.results], 3)


def test_infinity_client(target):
    pytest.importorskip("infinity_client")
    from infinity_client import AuthenticatedClient
    from infinity_client.api.default import rerank
    from infinity_client.models import RerankInput

    client = AuthenticatedClient(base_url=f"{target.url}/infinity", token=KEY)
    answer = rerank.sync(client=client, body=RerankInput(query=QUERY, documents=DOCUMENTS, model="any"))
    target.check([(one.index, one.relevance_score) for one in answer.results])
    again = asyncio.run(rerank.asyncio(client=client, body=RerankInput(query=QUERY, documents=DOCUMENTS, top_n=2)))
    target.check([(one.index, one.relevance_score) for one in again.results], 2)


@pytest.mark.filterwarnings("ignore")
def test_voyage_sdk(target):
    voyage = pytest.importorskip("voyageai")
    client = voyage.Client(api_key=KEY, base_url=f"{target.url}/v1")
    answer = client.rerank(QUERY, DOCUMENTS, model="rerank-2.5", top_k=3)
    target.check([(one.index, one.relevance_score) for one in answer.results], 3)
    assert answer.total_tokens > 0


def test_mixedbread_sdk(target):
    mixedbread = pytest.importorskip("mixedbread")
    client = mixedbread.Mixedbread(api_key=KEY, base_url=target.url)
    answer = client.rerank(model="mixedbread-ai/mxbai-rerank-large-v2", query=QUERY, input=DOCUMENTS, top_k=3)
    target.check([(one.index, one.score) for one in answer.data], 3)


@pytest.mark.parametrize("path", ["", "/xinference"], ids=["bare", "prefix"])
def test_xinference_client(target, path):
    xinference = pytest.importorskip("xinference_client")
    model = xinference.RESTfulClient(target.url + path, api_key=KEY).get_model("any")
    answer = model.rerank(DOCUMENTS, QUERY, top_n=3, return_documents=True)
    target.check([(one["index"], one["relevance_score"]) for one in answer["results"]], 3)
    assert all(one["document"]["text"] == DOCUMENTS[one["index"]] for one in answer["results"])
