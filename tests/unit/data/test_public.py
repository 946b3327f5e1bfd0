"""Public datasets, from tiny files of exactly their formats."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from pprm.core.events import Kind
from pprm.data import DATASETS, google_merchandise, rees46, table, taobao, yelp
from pprm.data.dataset import Dataset
from pprm.data.files import CUT
from pprm.data.rows import REPEATED, UNKNOWN_PRODUCT

REES46 = """event_time,event_type,product_id,category_id,category_code,brand,price,user_id,user_session
2019-10-01 00:00:00 UTC,view,3900821,2053013552326770905,appliances.environment.water_heater,aqua,33.20,5547,9333
2019-10-01 00:00:01 UTC,cart,3900821,2053013552326770905,appliances.environment.water_heater,aqua,33.20,5547,9333
2019-10-01 00:00:02 UTC,purchase,3900821,2053013552326770905,appliances.environment.water_heater,aqua,33.20,5547,9333
2019-10-01 00:00:03 UTC,view,44600062,2103807459595387724,,shiseido,35.79,5413,72d7
2019-10-01 00:00:09 UTC,purchase,44600062,2103807459595387724,,shiseido,35.79,5547,9333
2019-10-02 00:00:09 UTC,purchase,3900821,2053013552326770905,appliances.environment.water_heater,aqua,33.20,5547,9333
2019-10-02 00:00:10 UTC,remove_from_cart,17200506,2053013559792632471,furniture.living_room.sofa,,543.10,5191,
2019-10-02 02:50:00 UTC,view,10900305,2053013555069845885,appliances.kitchen.mixer,elenberg,25.71,5204"""  # noqa: E501


def told(data: Dataset) -> list[tuple[str, str, Kind, str]]:
    assert data.kind is not None
    columns = (data.user, data.product, data.kind, data.basket)
    return [
        (data.users[u], data.products[p].product_id, Kind(k), data.baskets[b] if b >= 0 else "")
        for u, p, k, b in zip(*(column.tolist() for column in columns), strict=True)
    ]


def save(path: Path, content: str) -> Path:
    path.write_bytes(gzip.compress(content.encode()) if path.suffix == ".gz" else content.encode())
    return path


def test_rees46(tmp_path: Path) -> None:
    data = DATASETS["rees46"](save(tmp_path / "2019-Oct.csv.gz", REES46))
    assert told(data) == [
        ("5547", "3900821", Kind.VIEW, ""),
        ("5547", "3900821", Kind.ADD_TO_CART, ""),
        ("5547", "3900821", Kind.PURCHASE, "9333 2019-10-01"),
        ("5547", "44600062", Kind.PURCHASE, "9333 2019-10-01"),
        ("5413", "44600062", Kind.VIEW, ""),
        ("5547", "3900821", Kind.PURCHASE, "9333 2019-10-02"),
        ("5191", "17200506", Kind.REMOVE_FROM_CART, ""),
    ]
    heater, cream, sofa = data.products
    assert (
        heater.categories == ["appliances", "environment", "water heater"]
        and heater.title == "aqua water heater"
    )
    assert (
        cream.categories == ["category 2103807459595387724"]
        and cream.brand == "shiseido"
        and cream.price == 35.79
    )
    assert sofa.title == "sofa" and sofa.brand == "" and sofa.available
    assert data.left_out == {CUT: 1}
    assert data.time[0] == 1569888000


def test_rees46_reads_months_together(tmp_path: Path) -> None:
    header, *lines = REES46.splitlines()
    oct_, nov = (save(tmp_path / f"{name}.csv", "\n".join([header, *rows]) + "\n")
                 for name, rows in (("oct", lines[:4]), ("nov", lines[4:7])))  # fmt: skip
    assert told(rees46.load(oct_, nov)) == told(rees46.load(save(tmp_path / "both.csv", REES46)))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "cart,39",
            "basket,39",
            r"oct.csv, line 3: event_type must be one of view, cart, .*, not 'basket'",
        ),
        (
            "event_time",
            "time",
            r"oct.csv, line 1: there is no column 'event_time' \(is it 'event_type'",
        ),
        ("00:00:01 UTC", "00:00:01", "has no time zone"),
    ],
)
def test_rees46_that_is_wrong(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(table.TableError, match=message):
        rees46.load(save(tmp_path / "oct.csv", REES46.replace(old, new)), strict=True)


TAOBAO = """1,2268318,2520377,pv,1511544070
1,2268318,2520377,fav,1511544080
1,2333346,2520771,buy,1511561733
1,2576651,149192,pv,1511539199
1,2576651,149192,pv,-2144
2,2268318,2520377,cart,1511539200
2,2333346,2520771,buy,1512316799
2,2333346,2520771,buy,1512316800
2,2576651,1491"""


def test_taobao(tmp_path: Path) -> None:
    data = DATASETS["taobao"](save(tmp_path / "UserBehavior.csv", TAOBAO))
    assert told(data) == [
        ("2", "2268318", Kind.ADD_TO_CART, ""),
        ("1", "2268318", Kind.VIEW, ""),
        ("1", "2268318", Kind.ADD_TO_CART, ""),
        ("1", "2333346", Kind.PURCHASE, "1511561733"),
        ("2", "2333346", Kind.PURCHASE, "1512316799"),
    ]
    assert [(p.product_id, p.categories) for p in data.products] == [
        ("2268318", ["category 2520377"]), ("2333346", ["category 2520771"]),
    ]  # fmt: skip
    assert data.left_out == {taobao.OUTSIDE: 3, CUT: 1}


def test_taobao_that_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(
        table.TableError, match=r"line 1: behaviour must be one of pv, cart, fav, buy, not 'view'"
    ):
        taobao.load(save(tmp_path / "a.csv", TAOBAO.replace("pv", "view")), strict=True)
    with pytest.raises(
        table.TableError, match=r"a.csv, line 1: time must be whole seconds since 1970, not 'time'"
    ):
        taobao.load(
            save(tmp_path / "a.csv", "user,item,category,behaviour,time\n" + TAOBAO), strict=True
        )


MERCHANDISE = """user_id,ga_session_id,country,device,type,item_id,date
2133,16909,NA,mobile,add_to_cart,1,2020-11-01 00:26:00
2133,16909,NA,mobile,begin_checkout,0,2020-11-01 00:27:00
2133,16909,NA,mobile,purchase,0,2020-11-01 00:27:00
2133,16909,NA,mobile,purchase,1,2020-11-01 00:29:00
2133,16909,NA,mobile,purchase,1,2020-11-01 00:30:00
5789,16909,,desktop,purchase,1,2020-11-01 00:27:00
5789,16909,,desktop,purchase,9,2020-11-01 00:27:00
"""
ITEMS = """id,name,brand,variant,category,price_in_usd
0,"Google Land & Sea Cotton Cap",Google,Single Option Only,Apparel,14
1,Google Unisex Eco Tee Black,Google, LG,,22
"""


def test_google_merchandise(tmp_path: Path) -> None:
    files = save(tmp_path / "events.csv.gz", MERCHANDISE), save(tmp_path / "items.csv", ITEMS)
    data = google_merchandise.load(*files)
    assert told(data) == [
        ("2133", "1", Kind.VIEW, ""),
        ("2133", "0", Kind.PURCHASE, "16909"),
        ("2133", "1", Kind.PURCHASE, "16909"),
        ("5789", "1", Kind.PURCHASE, "16909"),
    ]
    assert len(data.baskets) == 2
    assert data.profiles == {"2133": {"country": "NA"}}
    cap, tee = data.products
    assert cap.attributes == {} and cap.categories == ["Apparel"] and cap.price == 14
    assert tee.attributes == {"variant": "LG"} and tee.categories == []
    assert data.left_out == {REPEATED: 1, UNKNOWN_PRODUCT: 1, google_merchandise.CHECKOUT: 1}


PLACE = {
    "business_id": "Pns2l4eNsfO8kk83dixA6A", "name": "Abby Rappoport, LAC",
    "address": "1616 Chapala St, Ste 2",
    "city": "Santa Barbara", "state": "CA", "postal_code": "93101", "latitude": 34.4266787,
    "longitude": -119.7111968,
    "stars": 5.0, "review_count": 7, "is_open": 0, "attributes": {"ByAppointmentOnly": "True"},
    "categories": "Doctors, Health & Medical", "hours": None,
}  # fmt: skip
BAR = PLACE | {
    "business_id": "MTSW4McQd7CbVtyjqoe9mw", "name": "St Honore", "is_open": 1,
    "categories": "Doctors, Bars",
    "attributes": {
        "WiFi": "u'free'", "BikeParking": "True", "OutdoorSeating": "False",
        "Alcohol": "'full_bar'",
        "RestaurantsPriceRange2": "2",
        "Ambience": "{'romantic': False, u'casual': True, 'trendy': True}",
        "BusinessParking": "None", "NoiseLevel": "u'none'", "Music": "{broken",
    },
    "hours": {"Monday": "7:0-20:0", "Friday": "7:0-21:30"},
}  # fmt: skip
PLAIN = BAR | {"business_id": "3", "attributes": None}
REVIEW = {
    "review_id": "KU_O5udG6zpxOg-VcAEodg", "user_id": "mh_-eMZ6K5RLWhZyISBhwA",
    "business_id": PLACE["business_id"],
    "stars": 5.0, "useful": 0, "funny": 0, "cool": 0, "text": "Terrible, awful.",
    "date": "2018-07-07 22:09:11",
}  # fmt: skip
TIP = {
    "user_id": "AGNUgVwnZUey3gcPCJ76iw", "business_id": BAR["business_id"],
    "text": "Great time with the ladies!",
    "date": "2012-05-18 02:17:21", "compliment_count": 0,
}  # fmt: skip
SOMEBODY = {
    "user_id": "mh_-eMZ6K5RLWhZyISBhwA", "name": "Walker", "review_count": 585,
    "yelping_since": "2007-01-25 16:47:26",
    "useful": 7217, "funny": 1259, "cool": 5994, "elite": "2007",
    "friends": "NSCy54eWehBJyZdG2iE84w", "fans": 267,
    "average_stars": 3.91, "compliment_hot": 250,
}  # fmt: skip


def lines(path: Path, *records: dict[str, Any], end: str = "") -> Path:
    return save(path, "".join(json.dumps(record) + "\n" for record in records) + end)


@pytest.fixture
def published(tmp_path: Path) -> dict[str, Path]:
    name = "yelp_academic_dataset_{}.json"
    return {
        "business": lines(
            tmp_path / name.format("business"),
            PLACE,
            BAR,
            BAR | {"business_id": "3", "attributes": None},
        ),
        "review": lines(tmp_path / name.format("review"), REVIEW, end='{"review_id": "cut o'),
        "user": lines(tmp_path / name.format("user"), SOMEBODY),
        "tip": lines(tmp_path / name.format("tip"), TIP),
    }


def test_yelp(published: dict[str, Path]) -> None:
    data = DATASETS["yelp"](*published.values())
    assert data.sentiment is not None
    assert told(data) == [
        ("AGNUgVwnZUey3gcPCJ76iw", "MTSW4McQd7CbVtyjqoe9mw", Kind.REVIEW, ""),
        ("mh_-eMZ6K5RLWhZyISBhwA", "Pns2l4eNsfO8kk83dixA6A", Kind.PURCHASE, "1531001351"),
        ("mh_-eMZ6K5RLWhZyISBhwA", "Pns2l4eNsfO8kk83dixA6A", Kind.REVIEW, ""),
    ]
    tip, visit, stars = data.sentiment.tolist()
    assert tip > 0.3 and visit == 0 and stars == 1
    assert data.profiles == {"mh_-eMZ6K5RLWhZyISBhwA": {"yelping since": "2007"}}
    assert data.left_out == {CUT: 1}


def test_a_yelp_place_as_a_product(published: dict[str, Path]) -> None:
    doctor, bar, plain = yelp.load(published["business"], published["review"]).products
    assert doctor.title == "Abby Rappoport, LAC" and not doctor.available
    assert doctor.categories == ["Doctors", "Health & Medical"]
    assert doctor.attributes == {"city": "Santa Barbara, CA", "by appointment only": "yes"}
    assert bar.available and bar.categories == ["Doctors", "Bars"]
    assert bar.attributes == {
        "city": "Santa Barbara, CA", "hours": "Monday 7:0-20:0, Friday 7:0-21:30", "wi fi": "free",
        "bike parking": "yes", "alcohol": "full bar", "restaurants price range 2": "2",
        "ambience": "casual, trendy", "music": "{broken",
    }  # fmt: skip
    assert plain.attributes.keys() == {"city", "hours"}


def test_yelp_is_read_line_by_line(
    published: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pprm.data.formats.CHUNK", 16384)
    many = lines(published["review"], *(REVIEW | {"review_id": str(n)} for n in range(5000)))
    done: list[tuple[int, int | None]] = []
    rows = yelp.convert(published["business"], many, progress=lambda *at: done.append(at))
    events = iter(rows.events)
    for _ in range(200):
        next(events)
    total = many.stat().st_size + published["business"].stat().st_size
    assert 0 < done[-1][0] < total / 5 and done[-1][1] == total
    assert sum(1 for _ in events) == 10_000 - 200
    list(rows.products)
    assert done[-1] == (total, total)


def test_yelp_that_is_wrong(published: dict[str, Path]) -> None:
    lines(published["review"], REVIEW, {"user_id": "u"})
    with pytest.raises(table.TableError, match=r"_review.json, line 2: there is no 'business_id'"):
        yelp.load(published["business"], published["review"], strict=True)
    assert list(yelp.load(published["business"], published["review"]).left_out) == [
        "there is no 'business_id'"
    ]
    save(published["review"], "[1]\n")
    with pytest.raises(
        table.TableError,
        match=r"_review.json: 1 of 1 rows cannot be used:\n"
        r"  1: a line must be one JSON object \(line 1\)",
    ):
        yelp.load(published["business"], published["review"])


def test_a_public_dataset_written_as_tables_is_the_same(
    tmp_path: Path, published: dict[str, Path]
) -> None:
    written = [tmp_path / f"{name}.parquet" for name in ("events", "products", "users")]
    table.write(yelp.convert(*published.values()), *written)
    again, data = table.load(*written), yelp.load(*published.values())
    assert (
        told(again) == told(data)
        and again.products == data.products
        and again.profiles == data.profiles
    )
