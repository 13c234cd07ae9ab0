"""Where the measures come from."""

BISLA = (
    "D. Bisla, J. Wang, A. Choromanska, Low-Pass Filtering SGD for Recovering Flat Optima in the Deep Learning "
    "Optimization Landscape, AISTATS 2022"
)
BISLA_CODE = "its authors' code"
KESKAR = (
    "N. Keskar, D. Mudigere, J. Nocedal, M. Smelyanskiy, P. Tang, On Large-Batch Training for Deep Learning: "
    "Generalization Gap and Sharp Minima, ICLR 2017"
)
CHAUDHARI = "P. Chaudhari et al., Entropy-SGD: Biasing Gradient Descent Into Wide Valleys, ICLR 2017"
JIANG = (
    "Y. Jiang, B. Neyshabur, H. Mobahi, D. Krishnan, S. Bengio, Fantastic Generalization Measures and Where to Find "
    "Them, ICLR 2020"
)
LIANG = (
    "T. Liang, T. Poggio, A. Rakhlin, J. Stokes, Fisher-Rao Metric, Geometry, and Complexity of Neural Networks, "
    "AISTATS 2019"
)
PEREYRA = (
    "G. Pereyra, G. Tucker, J. Chorowski, L. Kaiser, G. Hinton, Regularizing Neural Networks by Penalizing Confident "
    "Output Distributions, 2017"
)
MACKAY = "D. MacKay, Bayesian Interpolation, Neural Computation 1992"
FORET = (
    "P. Foret, A. Kleiner, H. Mobahi, B. Neyshabur, Sharpness-Aware Minimization for Efficiently Improving "
    "Generalization, ICLR 2021"
)
KWON = (
    "J. Kwon, J. Kim, H. Park, I. Choi, ASAM: Adaptive Sharpness-Aware Minimization for Scale-Invariant Learning of "
    "Deep Neural Networks, ICML 2021"
)
ANDRIUSHCHENKO = (
    "M. Andriushchenko, F. Croce, M. Mueller, M. Hein, N. Flammarion, A Modern Look at the Relationship between "
    "Sharpness and Generalization, ICML 2023"
)
PETZKA = "H. Petzka, M. Kamp, L. Adilova, C. Sminchisescu, M. Boley, Relative Flatness and Generalization, NeurIPS 2021"
