import pytest

from serving.redaction import Redactor, redact
from serving.redaction.national_ids import ENTITIES

# Published examples, or made by the rules of each scheme.
VALID = {
    "us_ssn": ["455-99-6622", "455 99 6622", "social security number is 455996622"],
    "uk_nino": ["AB 12 34 56 C", "ab123456c"],
    "uk_nhs": ["NHS number 943 476 5919"],
    "de_tax_id": ["86 095 742 719", "65929970489"],
    "es_nif": ["12345678Z", "X-1234567-L"],
    "fr_nir": ["2 55 08 14 168 025 38"],
    "it_codice_fiscale": ["RSSMRA85T10A562S", "mrtmtt25d09f205z"],
    "pl_pesel": ["44051401359"],
    "br_cpf": ["529.982.247-25", "11144477735"],
    "nl_bsn": ["BSN: 111222333"],
    "be_national_number": ["85.07.30-033.28", "85073003328"],
    "ch_ahv": ["756.9217.0769.85"],
    "se_personnummer": ["811228-9874", "198112289874"],
    "no_fodselsnummer": ["10060812719"],
    "fi_hetu": ["131052-308T"],
    "dk_cpr": ["211062-5629"],
    "ro_cnp": ["1800101221144"],
    "pt_nif": ["NIF 123 456 789"],
    "tr_identity": ["10000000146"],
    "in_aadhaar": ["2341 2341 2346", "aadhaar no 234123412346"],
    "in_pan": ["ABCPE1234F"],
    "cn_resident": ["11010519491231002X"],
    "kr_rrn": ["880101-1234568"],
    "sg_nric": ["S1234567D"],
    "za_identity": ["ID number 8001015009087"],
    "mx_curp": ["HEGG560427MVZRRL04"],
    "ca_sin": ["SIN 046 454 286"],
    "au_tfn": ["TFN 123 456 782"],
}
# One digit or letter off, or nothing that was ever given.
INVALID = {
    "us_ssn": ["000-12-3456", "666-12-3456", "455-00-6622", "455-99-0000"],
    "uk_nino": ["BG 12 34 56 C", "AB 12 34 56 E"],
    "uk_nhs": ["NHS number 943 476 5918", "943 476 5919"],
    "de_tax_id": ["86095742718", "12345678901"],
    "es_nif": ["12345678A", "X1234567M"],
    "fr_nir": ["2 55 08 14 168 025 39"],
    "it_codice_fiscale": ["RSSMRA85T10A562T"],
    "pl_pesel": ["44051401358", "44131401359"],
    "br_cpf": ["529.982.247-26", "111.111.111-11"],
    "nl_bsn": ["BSN: 111222334"],
    "be_national_number": ["85.07.30-033.29", "85.17.30-033.28"],
    "ch_ahv": ["756.9217.0769.84"],
    "se_personnummer": ["811228-9875", "811328-9874"],
    "no_fodselsnummer": ["10060812718"],
    "fi_hetu": ["131052-308U"],
    "dk_cpr": ["311162-5629"],
    "ro_cnp": ["1800101221145"],
    "pt_nif": ["NIF 123 456 788"],
    "tr_identity": ["10000000147"],
    "in_aadhaar": ["2341 2341 2347", "1341 2341 2346"],
    "in_pan": ["ABCDE1234F"],
    "cn_resident": ["110105194912310021", "11010519491331002X"],
    "kr_rrn": ["881301-1234568"],
    "sg_nric": ["S1234567E"],
    "za_identity": ["ID number 8001015009088"],
    "mx_curp": ["HEGG560427MVZRRL05"],
    "ca_sin": ["SIN 046 454 287"],
    "au_tfn": ["TFN 123 456 783"],
}


@pytest.mark.parametrize(("entity", "text"), [(entity, text) for entity, texts in VALID.items() for text in texts])
def test_numbers_that_hold_are_found(entity, text):
    redacted = Redactor([entity]).redact(f"hello {text}, thanks")
    assert f"[{entity}], thanks" in redacted
    assert redacted.startswith("hello ")


@pytest.mark.parametrize(("entity", "text"), [(entity, text) for entity, texts in INVALID.items() for text in texts])
def test_numbers_that_do_not_hold_are_none(entity, text):
    assert Redactor([entity]).redact(f"hello {text}, thanks") == f"hello {text}, thanks"


@pytest.mark.parametrize("entity", ENTITIES)
def test_every_scheme_is_tried(entity):
    assert VALID[entity]
    assert INVALID[entity]


def test_a_number_is_not_found_inside_of_another():
    assert "pesel" not in redact("x44051401359")
    assert Redactor(["br_cpf"]).redact("1.529.982.247-25") == "1.529.982.247-25"
