import pytest

from serving.redaction import redact


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("my account number is 4417", "my account number is [account]"),
        ("a/c no. 12-34567", "a/c no. [account]"),
        ("transfer from account 5577 to 2299 please", "transfer from account [account] please"),
        ("Kundennummer: K 4711 12", "Kundennummer: [account]"),
        ("mi cuenta es 00123456", "mi cuenta es [account]"),
        ("credit card ending in 6032", "credit card ending in [card]"),
        ("card number 2745648618453785", "card number [card]"),
        ("the card that ends 6032", "the card that ends [card]"),
        ("the account finishing in 4417", "the account finishing in [account]"),
        ("IBAN DE88 3704 0044 0532 0130 00", "IBAN [iban]"),
        ("the CVV is 123", "the CVV is [password]"),
        ("You can call 73 448", "You can call [phone]"),
        ("tel: 12345", "tel: [phone]"),
        ("My order number is 123-4567890-1234567.", "My order number is [reference]."),
        ("booking confirmation number h 6 j 7 k 8", "booking confirmation number [reference]"),
        ("claim id okb 001", "claim id [reference]"),
        ("date of birth. It's 3/23/1940", "date of birth. It's [birth_date]"),
        ("She was born on May 3rd, 1990.", "She was born on [birth_date]."),
        ("geboren am 3. Mai 1990", "geboren am [birth_date]"),
        ("né le 3 mai 1990", "né le [birth_date]"),
        ("nacido el 3 de mayo de 1990", "nacido el [birth_date]"),
        ("passport no C01X00T47", "passport no [passport]"),
        ("my driver's license number is A125325867", "my driver's license number is [driver_license]"),
        ("user id: ann_77", "user id: [user_name]"),
        ("password: s3cr3t!", "password: [password]!"),
        ("my password is aukland", "my password is [password]"),
        ("Passwort lautet Sommer12", "Passwort lautet [password]"),
        ("contraseña: hola1234", "contraseña: [password]"),
        ("set the pin to 4892", "set the pin to [password]"),
        ("password 254585", "password [password]"),
        ("ssn 8437", "ssn [us_ssn]"),
        ("last 4 digits of my ssn are 5685", "last 4 digits of my ssn are [us_ssn]"),
    ],
)
def test_what_words_introduce_goes(text, redacted):
    assert redact(text) == redacted


@pytest.mark.parametrize(
    "text",
    [
        *("a withdrawal from my account for 500", "I opened an account in 2019", "my account is locked", "account with 20 euros"),
        *("my password is not working", "the password was wrong", "Explain the card PIN to me.", "is my PIN unlocked"),
        *(
            "my passcode was denied.",
            "reset the password please",
            "I was born here",
            "call me at 5 pm",
            "my card is lost",
            "order 2 pizzas",
        ),
        *(
            "order number please",
            "a card for 1000 dollars",
            "contact us in 2 days",
            "the case is closed",
            "phone book",
            "a motorcycle of 750 cc 2014",
        ),
    ],
)
def test_what_they_do_not_introduce_stays(text):
    assert redact(text) == text


def test_words_count_only_as_words():
    assert redact("happiness 12345") == "happiness 12345"
    assert redact("cashpin is 4892x") == "cashpin is 4892x"
