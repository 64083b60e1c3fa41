"""New Zealand's BA.5 wave, June to August 2022: the facts that differ from those of the first Omicron wave.

Fixed before any later week was looked at: weeks ending 5 June to 10 July 2022 are fitted, those ending 17 July to 28 August are forecast.
"""
