"""The service most teams would write: FastAPI, a pandas frame for each request, scikit-learn.

It has no keys, limits, audit, versions or checks of its own; it is what `predict.py` compares with.
"""

from __future__ import annotations

import os
from datetime import date
from typing import Any

import pandas as pd
from fastapi import FastAPI
from pydantic import BaseModel
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

NUMBERS = [
    "age",
    "tenure_days",
    "recency_days",
    "orders",
    "total_spend",
    "average_basket",
    "returns_share",
    "discount_share",
    "newsletter",
]
CATEGORIES = ["channel", "region"]
N_CLUSTERS = 5


class CustomerSegment(BaseModel):
    customer_id: str
    segment: int
    segment_name: str
    distance: float


class Predictions(BaseModel):
    model_type: str
    version: int
    n_stored: int
    predictions: list[CustomerSegment]


def with_tenure(frame: pd.DataFrame) -> pd.DataFrame:
    frame = frame.fillna({name: float("nan") for name in CATEGORIES})
    signed_up_on = pd.to_datetime(frame["signed_up_on"])
    frame["tenure_days"] = (pd.Timestamp(date(2025, 6, 30)) - signed_up_on).dt.days
    frame[NUMBERS] = frame[NUMBERS].astype(float)
    return frame


def fitted(frame: pd.DataFrame) -> Pipeline:
    columns = ColumnTransformer(
        [
            ("numbers", make_pipeline(SimpleImputer(strategy="median"), StandardScaler()), NUMBERS),
            ("categories", OneHotEncoder(handle_unknown="ignore", sparse_output=False), CATEGORIES),
        ]
    )
    kmeans = KMeans(n_clusters=N_CLUSTERS, n_init=10, random_state=0)
    pipeline = Pipeline([("columns", columns), ("kmeans", kmeans)])
    return pipeline.fit(with_tenure(frame))


app = FastAPI()
pipeline = fitted(pd.read_csv(os.environ["CUSTOMERS_CSV"]))


@app.post("/predict")
def predict(customers: list[dict[str, Any]]) -> Predictions:
    frame = with_tenure(pd.DataFrame(customers))
    # Encoded once for both answers; `predict` and `transform` of the pipeline would do it twice.
    distances = pipeline[-1].transform(pipeline[:-1].transform(frame))
    segments = distances.argmin(axis=1)
    return Predictions(
        model_type="kmeans",
        version=1,
        n_stored=0,
        predictions=[
            CustomerSegment(
                customer_id=customer_id,
                segment=segment,
                segment_name=f"Segment {segment}",
                distance=distance,
            )
            for customer_id, segment, distance in zip(
                frame["customer_id"], segments.tolist(), distances.min(axis=1).tolist(), strict=True
            )
        ],
    )
